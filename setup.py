"""What pyproject.toml can't say: ``conf/`` is installed as ``xfeedback/conf``. Everything else stands there."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["xfeedback*", "hydra_plugins*"]), "xfeedback.conf"],
    package_dir={"xfeedback.conf": "conf"},
)
