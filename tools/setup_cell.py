# Set-up for Colab, Kaggle, Binder and the like; does nothing where the collection is installed.
import importlib.util
import os
import site
import subprocess
import sys
import sysconfig

COURSE_REPO = ""
COURSE_REF = "main"
if importlib.util.find_spec("shared") is None:
    repo, ref = os.getenv("COURSE_REPO", COURSE_REPO), os.getenv("COURSE_REF", COURSE_REF)
    if not repo:
        raise RuntimeError("Set the environment variable COURSE_REPO to this collection's git URL.")
    if not os.path.isdir("course"):
        subprocess.run(["git", "clone", "-q", "--depth=1", "-b", ref, repo, "course"], check=True)
    subprocess.run([sys.executable, "course/tools/install_here.py"], check=True)
    site.addsitedir(sysconfig.get_path("purelib"))
    importlib.invalidate_caches()
