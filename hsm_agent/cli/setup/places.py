"""Where vendors install their PKCS#11 modules, and which of them are on this host. Nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorPlace:
    """Where one vendor's module is. `variables` tell the module where its own configuration is."""

    vendor: str
    title: str
    paths: tuple[str, ...]
    told_by: str
    """What names these paths."""
    variables: tuple[str, ...] = ()


PLACES = (
    VendorPlace(
        vendor="luna",
        title="Thales Luna",
        paths=(
            "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
            "/opt/safenet/lunaclient/lib/libCryptoki2_64.so",
            "/usr/lib/libCryptoki2_64.so",
        ),
        told_by="Thales Luna HSM Client for Linux: its installation folder, another one given to install.sh, its link",
        variables=("ChrystokiConfigurationPath",),
    ),
    VendorPlace(
        vendor="nshield",
        title="Entrust nShield",
        paths=("/opt/nfast/toolkits/pkcs11/libcknfast.so",),
        told_by="nShield Security World documentation, PKCS #11 developer libraries",
        variables=("NFAST_HOME",),
    ),
    VendorPlace(
        vendor="utimaco",
        title="Utimaco",
        paths=(
            "/opt/utimaco/lib/libcs_pkcs11_R[23].so",
            "/opt/utimaco/PKCS11_R[23]/lib/libcs_pkcs11_R[23].so",
            "/usr/lib/libcs_pkcs11_R[23].so",
            "/usr/lib/utimaco/libcs_pkcs11_R[23].so",
        ),
        told_by="Utimaco CryptoServer PKCS#11 R2 and R3 guides; integrations that were seen in public repositories",
        variables=("CS_PKCS11_R3_CFG", "CS_PKCS11_R2_CFG"),
    ),
    VendorPlace(
        vendor="cloudhsm",
        title="AWS CloudHSM",
        paths=("/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",),
        told_by="AWS CloudHSM user guide, PKCS #11 library of Client SDK 5",
    ),
    VendorPlace(
        vendor="opencryptoki",
        title="opencryptoki",
        paths=(
            "/usr/lib/*-linux-gnu*/opencryptoki/libopencryptoki.so",
            "/usr/lib/*-linux-gnu*/opencryptoki/libopencryptoki.so.0",
            "/usr/lib/*-linux-gnu*/pkcs11/libopencryptoki.so",
            "/usr/lib64/opencryptoki/libopencryptoki.so",
            "/usr/lib64/pkcs11/libopencryptoki.so",
            "/usr/lib/opencryptoki/libopencryptoki.so",
        ),
        told_by="packages of Debian (libopencryptoki0) and Fedora (opencryptoki-libs)",
    ),
    VendorPlace(
        vendor="yubihsm",
        title="YubiHSM 2",
        paths=(
            "/usr/lib/*-linux-gnu*/pkcs11/yubihsm_pkcs11.so",
            "/usr/lib64/pkcs11/yubihsm_pkcs11.so",
            "/usr/lib/pkcs11/yubihsm_pkcs11.so",
            "/usr/local/lib/pkcs11/yubihsm_pkcs11.so",
        ),
        told_by="packages of Debian (yubihsm-pkcs11), Fedora and Arch (yubihsm-shell); cmake's default prefix",
        variables=("YUBIHSM_PKCS11_CONF",),
    ),
    VendorPlace(
        vendor="softhsm",
        title="SoftHSM",
        paths=(
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/*-linux-gnu*/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
            "/usr/lib64/softhsm/libsofthsm2.so",
            "/usr/local/lib/softhsm/libsofthsm2.so",
        ),
        told_by="packages of Debian (libsofthsm2) and Fedora (softhsm); configure's default prefix",
        variables=("SOFTHSM2_CONF",),
    ),
)
"""Every place that is looked at, beside p11-kit's module files."""

MODULE_FILES = ("/usr/share/p11-kit/modules", "/usr/local/share/p11-kit/modules", "/etc/pkcs11/modules")
"""pkcs11.conf(5): package and administrator name modules there, a file each."""
_RELATIVE_TO = ("/usr/lib/*-linux-gnu*/pkcs11", "/usr/lib64/pkcs11", "/usr/lib/pkcs11", "/usr/local/lib/pkcs11")
_LARGEST_FILE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModule:
    """A module on this host, what it would be called, and the variables it needs in its environment."""

    vendor: str
    title: str
    path: Path
    environment: Mapping[str, str]


def find_modules(environment: Mapping[str, str], root: Path = Path("/")) -> list[FoundModule]:
    """Every module once, by what its path leads to; of two names of one file the first in the table."""
    paths = [path for place in PLACES for pattern in place.paths for path in _matches(root, pattern)]
    found: dict[Path, FoundModule] = {}
    for path in [*paths, *_of_module_files(root)]:
        found.setdefault(path.resolve(), named_module(path, environment))
    return list(found.values())


def named_module(path: Path, environment: Mapping[str, str]) -> FoundModule:
    """A module at a path, with its vendor by the file's name, and what of the environment it needs."""
    for place in PLACES:
        if any(fnmatch(path.name, Path(pattern).name) for pattern in place.paths):
            kept = {name: environment[name] for name in place.variables if environment.get(name)}
            return FoundModule(vendor=place.vendor, title=place.title, path=path, environment=kept)
    name = path.name.partition(".")[0].removeprefix("lib") or "module"
    return FoundModule(vendor=name, title=name, path=path, environment={})


def _matches(root: Path, pattern: str) -> Iterator[Path]:
    yield from (path for path in sorted(root.glob(pattern.lstrip("/"))) if _is_file(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that may be listed and not entered
        return False


def _of_module_files(root: Path) -> Iterator[Path]:
    for folder in MODULE_FILES:
        for file in _matches(root, f"{folder}/*.module"):
            settings = _settings(file)
            name = settings.get("module", "")
            # `trust-policy` marks what holds certificate authorities: no HSM. A `remote` one is run, not loaded.
            if name and "remote" not in settings and settings.get("trust-policy") != "yes":
                yield from _absolute(root, name)


def _settings(file: Path) -> dict[str, str]:
    """The lines `key: value` of a module file; none of one that cannot be read."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_LARGEST_FILE).splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _absolute(root: Path, name: str) -> Iterable[Path]:
    """The files of that name. It is a name and no pattern, whatever characters it has."""
    folders = [root] if Path(name).is_absolute() else [each for one in _RELATIVE_TO for each in root.glob(one[1:])]
    return [path for folder in folders if _is_file(path := folder / name.lstrip("/"))]
