# @title Set-up: fetches the collection on Colab and the like; does nothing where it is installed
import importlib.util
import os
import runpy
import subprocess

if importlib.util.find_spec("shared") is None:
    repo = os.getenv("COURSE_REPO", "(set COURSE_REPO to the address of this collection)")
    ref = os.getenv("COURSE_REF", "main")
    subprocess.run(["git", "clone", "-q", "--depth=1", "-b", ref, repo, "course"])
    runpy.run_path("course/tools/install_here.py")
