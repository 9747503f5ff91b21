"""Builds the package. pyproject.toml has its name, version and dependencies.

The templates lie beside the packages in a checkout, and inside `stagenorm` in an installation.
"""

from setuptools import find_namespace_packages, setup

PACKAGES = find_namespace_packages(
    include=["normalization*", "ops*", "stagenorm*"], exclude=["*.__pycache__*"]
)

setup(
    packages=[*PACKAGES, "stagenorm.templates"],
    package_dir={"stagenorm.templates": "templates"},
    package_data={name: ["*"] for name in PACKAGES} | {"stagenorm.templates": ["**/*"]},
)
