"""Print one line for each requirement of setup.cfg that this interpreter does not meet.

The exit status is 1 if a requirement is not met. tools/env.sh runs this file before the
installation, so the file imports only the standard library.
Usage: requirements.py [EXTRA ...]
"""

import configparser
import re
import sys
from importlib import metadata
from operator import eq, ge, gt, le, lt
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPARE = {">=": ge, "<=": le, "==": eq, "<": lt, ">": gt}
# Distributions that contain the same module.
SAME = {
    "opencv-python-headless": (
        *("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
        "opencv",
    )
}


def read_requirements(extras, path=ROOT / "setup.cfg"):
    """Return the requirements of the core and of extras, and the bounds on Python."""
    config = configparser.ConfigParser()
    config.read(path, encoding="utf-8")
    lines = config["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += config["options.extras_require"][extra].split("\n")
    found = [line.strip() for line in lines if line.strip()]
    return found, config["options"]["python_requires"]


def release(version):
    """Return the leading numbers of a version, for example [2, 4] of "2.4.0+cpu"."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)[0]
    return [int(number) for number in re.sub(r"(\.0+)+$", "", numbers).split(".")]


def fits(version, bounds):
    """Return whether a version is within bounds such as ">=0.17,<0.18"."""
    pairs = re.findall(r"(>=|<=|==|<|>)\s*([\d.]+)", bounds)
    return all(COMPARE[sign](release(version), release(bound)) for sign, bound in pairs)


def find_lacking(requirements, version_of):
    """Return one line for each package that is missing, too old or too new.

    Args:
        requirements: lines such as "numpy>=1.24".
        version_of: function that returns the version of an installed distribution, or None.
    """
    lacking = []
    for line in requirements:
        name, bounds = re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line).groups()
        versions = filter(None, map(version_of, (name, *SAME.get(name, ()))))
        version = next(versions, None)
        if version is None:
            lacking.append(f"{name} is missing")
        elif not fits(version, bounds):
            lacking.append(f"{name} {version} is installed, {bounds} is required")
    return lacking


def version_of(name):
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main(extras):
    requirements, python = read_requirements(extras)
    version = ".".join(map(str, sys.version_info[:3]))
    unfit = f"Python {version} is installed, {python} is required"
    lacking = [] if fits(version, python) else [unfit]
    lacking += find_lacking(requirements, version_of)
    for line in lacking:
        print(line)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
