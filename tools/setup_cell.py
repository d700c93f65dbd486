# @title Set-up: fetches the collection on Colab and the like; does nothing where it is installed
import importlib.util
import os
import runpy

if importlib.util.find_spec("shared") is None:
    os.environ.setdefault("COURSE_REPO", "(set COURSE_REPO to the address of this collection)")
    os.system('git clone -q --depth=1 -b "${COURSE_REF:-main}" "$COURSE_REPO" course')
    runpy.run_path("course/tools/install_here.py")
