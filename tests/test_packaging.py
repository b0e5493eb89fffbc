"""The sdist and the wheel contain the whole tree: one top-level package with real files."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
FOLDERS = ("agents", "plans", "sim_devices")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    # Without --sdist or --wheel, build makes the wheel from the sdist.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The Python and the site-packages of a clean environment that contains only the wheel."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=100, capture_output=True)
    python = home / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", str(built[1])]
    subprocess.run(command, check=True, timeout=100, capture_output=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(python), "-c", where], check=True, timeout=30, capture_output=True, text=True).stdout
    return python, Path(site.strip())


def sources() -> set[str]:
    """Every module and data file of the tree, by its import path."""
    return {
        str(path.relative_to(ROOT))
        for folder in ("ebl_autonomy", *(f"ebl_autonomy/{name}" for name in FOLDERS))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in {".py", ".typed", ".j2"}
    }


def test_the_sources_are_found() -> None:
    assert {"ebl_autonomy/space.py", "ebl_autonomy/agents/base.py", "ebl_autonomy/py.typed"} <= sources()


def test_the_sdist_holds_the_tree_as_real_files(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert sources() <= set(members)
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "hatch_build.py"} <= set(
        members
    )


def test_the_wheel_brings_one_top_level_package(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
        links = [info.filename for info in archive.infolist() if (info.external_attr >> 16) & 0o170000 == 0o120000]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ebl_autonomy"}
    assert sources() <= set(names)
    assert not links


def test_the_wheel_says_who_and_what_and_brings_its_manual(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())
        manual = {name for name in names if name.startswith("ebl_autonomy/manual/")}
        pages = {name: archive.read(name).decode() for name in manual if name.endswith(".md")}
    assert told["Author"] == "the ebl_autonomy developers"
    assert told["License-Expression"] == "BSD-3-Clause"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload() == (ROOT / "README.md").read_text()
    assert set(told.get_all("Provides-Extra")) == set(re.findall(r"`([a-z-]+)`", extras_of("docs/install.md")))
    assert "ebl_autonomy/manual/README.md" in pages
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            where = (Path("/") / name).parent / target
            path = Path(*where.parts[1:]) if ".." not in where.parts else Path(str(where.resolve())[1:])
            is_there = str(path) in names or any(other.startswith(f"{path}/") for other in names)
            assert target.startswith("http") or is_there, f"{name}: {target}"


def extras_of(page: str) -> str:
    """The first column of a page's table of extras."""
    table = (ROOT / page).read_text().partition("| extra |")[2].partition("\n\n")[0]
    return "\n".join(line.split("|")[1] for line in table.splitlines()[2:])


def test_the_version_follows_the_tags_and_needs_no_git(built: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)

    def version() -> str:
        command = [sys.executable, "-m", "hatchling", "version"]
        done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True, cwd=tmp_path)
        return done.stdout.strip()

    def git(*arguments: str) -> None:
        named = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *named, *arguments], check=True, timeout=60, capture_output=True, cwd=tmp_path)

    assert version() == "0.1.0.dev0"
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert re.match(r"0\.1(\.0)?\.dev1\+g", version())  # the one that will be first
    git("tag", "v1.2.3")
    git("tag", "an-experiment")  # no version
    assert version() == "1.2.3"
    git("commit", "--allow-empty", "-m", "second")
    assert version().startswith("1.2.4.dev1+g")
    (sdist, wheel) = built
    with tarfile.open(sdist) as archive:
        (information,) = (member for member in archive.getnames() if member.endswith("PKG-INFO"))
        file = archive.extractfile(information)
        assert file is not None
        told = Parser().parsestr(file.read().decode())["Version"]
    assert wheel.name.split("-")[1] == told  # it was made from the sdist, in which there is no git


@pytest.mark.parametrize(
    ("target", "installs"), [("install", "-e ."), ("demo", "-e ."), ("test", "'.[dev]'"), ("lint", "'.[dev]'")]
)
def test_only_developers_get_the_tools_of_developers(target: str, installs: str, tmp_path: Path) -> None:
    command = ["make", "-n", target, f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True, cwd=ROOT)
    lines = [line.strip() for line in done.stdout.splitlines() if "pip install" in line]
    assert len(lines) == 1
    assert lines[0].endswith(installs)


def test_it_installs_as_real_files(installed: tuple[Path, Path]) -> None:
    _, site = installed
    missing = [name for name in sources() if not (site / name).is_file()]
    assert not missing
    assert not [path for path in (site / "ebl_autonomy").rglob("*") if path.is_symlink()]
    assert not [folder for folder in FOLDERS if (site / folder).exists()]
    ours = {p.name for p in site.iterdir() if p.name.startswith("ebl_autonomy")}
    assert "ebl_autonomy" in ours
    assert len(ours) == 2, "the package and its metadata, nothing else"


def test_its_entry_points_are_found_by_name_and_exist(installed: tuple[Path, Path]) -> None:
    python, site = installed
    code = (
        "from importlib.metadata import distribution\n"
        "print(*[f'{e.group}|{e.name}|{e.module}' for e in distribution('ebl-autonomy').entry_points], sep='\\n')"
    )
    listed = subprocess.run([str(python), "-c", code], check=True, timeout=30, capture_output=True, text=True).stdout
    entries = [line.split("|") for line in listed.split()]
    names = {name for group, name, _ in entries if group == "ebl_autonomy.agents"}
    assert names == {"bayesian", "coordinate_scan", "energy", "grid", "mapping", "roi", "sobol"}
    for _, name, module in entries:
        path = site / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), (name, module)


def test_what_is_installed_runs(installed: tuple[Path, Path], tmp_path: Path) -> None:
    """An agent found by name proposes a point, with the installed files and this environment's dependencies."""
    _, site = installed
    code = (
        "import ebl_autonomy, sys\n"
        "from ebl_autonomy import registry\n"
        "for name in ('bayesian', 'coordinate_scan', 'grid', 'sobol'):\n"
        "    make = registry.load(registry.AGENTS, name)\n"
        "    make({'variables': {'x': [0, 1]}, 'objectives': {'f': 'MINIMIZE'}}).suggest(1)\n"
        "print(ebl_autonomy.__file__)"
    )
    # First on the path, so that it precedes the editable install of the tree. Nothing is compiled: that takes longer
    # than all else, and the other tests do it.
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PYTHONPATH": str(site),
            "PATH": "",
            "HOME": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            "NUMBA_DISABLE_JIT": "1",
        },
        cwd=tmp_path,
        check=True,
        timeout=100,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == str(site / "ebl_autonomy" / "__init__.py")
