"""Builds the wheel of modules below src/ (PEP 517, PEP 427), by pyproject.toml alone."""

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    del config_settings, metadata_directory
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    files = {path.name: path.read_bytes() for path in sorted(Path("src").glob("*.py"))}
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in project["entry-points"].items()
    )
    told = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: in_tree\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    for name, text in {"METADATA": told, "WHEEL": wheel, "entry_points.txt": points}.items():
        files[f"{stem}.dist-info/{name}"] = text.encode()
    record = f"{stem}.dist-info/RECORD"
    rows = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[record] = f"{rows}{record},,\n".encode()
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return name


def _digest(data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + digest.rstrip(b"=").decode()
