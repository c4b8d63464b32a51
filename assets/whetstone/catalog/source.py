"""A source: a folder with four SELECTs and a `source.yml`, joined with a shop's folder of files.

    sql/sources/<name>/{products,queries,judgments,engagement}.sql   plain DuckDB SQL; files are bound as `$<key>`, also `$locale`
    sql/sources/<name>/source.yml                                    SourceSpec: which files, which guideline, how texts are made

A file called `*.duckdb` isn't bound: its tables are read as `<key>.<table>`.

DuckDB 1.5 binds prepared parameters inside table functions (`read_csv($products)`), so no path is ever pasted into SQL.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
from pydantic import AfterValidator, Field

from whetstone.catalog.contracts import CONTRACTS
from whetstone.catalog.text import DEFAULT_TEMPLATE, text_sql
from whetstone.platform.declared import Declared, read_declared
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import Settings

_GLOB = set("*?[")
_UNFINISHED = (".tmp", ".part", ".crdownload")  # how writers call what they have not finished


def _below_the_data_folder(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError("must lie below the data folder: a relative path without '..'")
    return path


def _parameter(key: str) -> str:
    if not (key.isascii() and key.isidentifier()) or key == "locale":
        raise ValueError(f"the key {key!r} can't be bound as a parameter: use letters, digits and _, and not `locale`")
    return key


RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_below_the_data_folder)]


class FileSpec(Declared):
    """One entry under `files`: where it lies below the data folder (a name, a glob, or a folder), and whether it may be absent."""

    path: RelativePath
    optional: bool = False

    @property
    def is_database(self) -> bool:
        """Whether it is a DuckDB file, to attach."""
        return self.path.endswith(".duckdb") and not _GLOB & set(self.path)


class SourceSpec(Declared):
    """What `source.yml` holds; sql/sources/README.md says what the keys mean."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    description: str = Field(min_length=1)
    files: dict[Annotated[str, AfterValidator(_parameter)], FileSpec] = Field(min_length=1)
    guideline: str
    category_depth: int = Field(1, ge=1, le=9)
    text: Annotated[str, AfterValidator(lambda text: text_sql(text) and text)] = DEFAULT_TEMPLATE
    locale: str
    synonyms: RelativePath | None = None
    fresh_days: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Source:
    """A source with its files found."""

    spec: SourceSpec
    folder: Path  # of SQL
    data: Path  # the shop's folder of files
    selects: Mapping[str, str]  # table -> SQL text without closing semicolon
    binds: Mapping[str, Sequence[str]]  # table -> what its SELECT names: file keys, and perhaps `locale`
    files: Mapping[str, Sequence[Path]]  # file key -> the files found, sorted; empty if none

    @property
    def missing(self) -> dict[str, str]:
        """Files that have to be there and are not: key in source.yml -> path below the data folder."""
        absent = {key: file.path for key, file in self.spec.files.items() if not self.files[key] and not file.optional}
        return absent | ({"synonyms": str(self.spec.synonyms)} if self.synonyms and not self.synonyms.is_file() else {})

    def is_skipped(self, table: str) -> bool:
        """Whether a file that this table's SELECT needs is absent, so that the table stays empty."""
        return any(not self.files[key] for key in self.file_keys(table))

    def file_keys(self, table: str) -> list[str]:
        """Keys of the files that this table's SELECT reads."""
        return [key for key in self.binds[table] if key in self.files]

    def parameters(self, table: str) -> dict[str, Any]:
        """What to bind in this table's SELECT: a path for a single file, a list for a glob or folder, and the locale."""
        bound: dict[str, Any] = {"locale": self.spec.locale} if "locale" in self.binds[table] else {}
        for key in self.file_keys(table):
            if self.spec.files[key].is_database:
                continue
            paths = [str(path) for path in self.files[key]]
            bound[key] = paths[0] if len(paths) == 1 and not _GLOB & set(self.spec.files[key].path) else paths
        return bound

    def relative(self, path: Path) -> str:
        """A file's path below the data folder, for messages."""
        return str(path.relative_to(self.data))

    @property
    def synonyms(self) -> Path | None:
        """The synonyms file, if the source names one."""
        return self.data / self.spec.synonyms if self.spec.synonyms else None


def load_source(sql_dir: Path, name: str, data_dir: Path, *, require_files: bool = True) -> Source:
    """Read the source `name` below `sql_dir`/sources and find its files in the shop's folder `data_dir`.

    Without `require_files`, files may be missing, so that a check can report them with everything else. WhetstoneError: as in `load_spec`;
    no data folder; a SELECT is missing, can't be parsed, or binds what is not among the files; a file that has to be there is missing.
    """
    folder, spec = sql_dir / "sources" / name, load_spec(sql_dir, name)
    if not data_dir.is_dir():
        raise WhetstoneError(f"data folder {data_dir} of source {name} is not there; set WHETSTONE_DATA to the folder with its files")
    selects, binds = {}, {}
    databases = [key for key, file in spec.files.items() if file.is_database]
    for table in CONTRACTS:
        path = folder / f"{table}.sql"
        if not path.is_file():
            raise WhetstoneError(f"source {name} has no {path}; write its SELECT (sql/sources/README.md)")
        selects[table], binds[table] = _read_select(path)
        if unknown := sorted(set(binds[table]) - {*spec.files, "locale"}):
            known = ", ".join([*spec.files, "locale"])
            raise WhetstoneError(f"{path} binds ${', $'.join(unknown)}, which source.yml has not under files: {known}")
        binds[table] += [key for key in databases if re.search(rf"\b{key}\.", selects[table])]
    data = data_dir.resolve()
    source = Source(spec, folder, data, selects, binds, {key: _find(data, file.path) for key, file in spec.files.items()})
    if require_files and source.missing:
        absent = "\n".join(f"  {key}: no file {path}" for key, path in source.missing.items())
        raise WhetstoneError(f"source {name} misses files in {data}:\n{absent}\nPut them there, or correct {folder / 'source.yml'}.")
    return source


def load_spec(sql_dir: Path, name: str) -> SourceSpec:
    """The source.yml of a source, without looking for its files; WhetstoneError: unknown source, or unusable source.yml."""
    known = sorted(path.parent.name for path in (sql_dir / "sources").glob("*/source.yml"))
    if name not in known:
        there = f"there are {', '.join(known) or 'none'} in {sql_dir / 'sources'}"
        raise WhetstoneError(f"unknown source {name!r}: {there}; set WHETSTONE_SOURCE")
    path = sql_dir / "sources" / name / "source.yml"
    spec = read_declared(SourceSpec, path)
    if spec.name != name:
        raise WhetstoneError(f"{path}: name is {spec.name!r}, but the folder is {name!r}; let them agree")
    return spec


def open_source(settings: Settings, *, require_files: bool = False) -> Source:
    """The source that the settings name; with `require_files` a missing required file is an error."""
    return load_source(settings.sql_dir, settings.source, settings.data_dir, require_files=require_files)


def fingerprint(source: Source) -> str:
    """A hash of what the feed is made of: path, size, times and inode of each file, (synonyms too), and the SQL and source.yml.

    Equal means that nothing needs to be read again; a new one says no more than that reading is worth it. WhetstoneError: a file vanished.
    """
    digest = hashlib.sha256((source.folder / "source.yml").read_bytes())
    for table, select in source.selects.items():
        digest.update(f"\0{table}\0{select}".encode())
    files = [(key, path) for key in sorted(source.files) for path in source.files[key]]
    logs = [(key, path.with_name(f"{path.name}.wal")) for key, path in files if source.spec.files[key].is_database]
    files += [(key, path) for key, path in logs if path.exists()]  # what a database's writer has not merged into the file yet
    for key, path in [*files, *([("", source.synonyms)] if source.synonyms else [])]:
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise WhetstoneError(f"{path} of source {source.spec.name} vanished; build again when the feed is complete") from None
        fields = (key, source.relative(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        digest.update(repr(fields).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _find(data: Path, pattern: str) -> list[Path]:
    """Files of a pattern; of a folder (a hive, or a part per writer) every file below that isn't hidden, unfinished or like `_SUCCESS`."""
    if (data / pattern).is_file():
        return [data / pattern]
    found = data.glob(pattern) if _GLOB & set(pattern) else [data / pattern]
    files = {below for path in found for below in ([path] if path.is_file() else path.rglob("*")) if below.is_file()}
    parts = {path: path.relative_to(data).parts for path in files}
    return sorted(path for path in files if not any(name[0] in "._" or name.lower().endswith(_UNFINISHED) for name in parts[path]))


def _read_select(path: Path) -> tuple[str, list[str]]:
    """A file's one SELECT, without closing semicolons and what follows, so that it can stand in brackets; and its parameters."""
    try:
        select = path.read_text(encoding="utf-8")
        statements = duckdb.extract_statements(select)
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise WhetstoneError(f"{path}: {str(error).strip()}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise WhetstoneError(f"{path} must hold one SELECT and nothing else")
    coded = select.encode()  # tokens are counted in bytes, and comments are none
    for offset, _ in reversed(duckdb.tokenize(select)):
        if coded[offset : offset + 1] != b";":
            break
        coded = coded[:offset]
    return coded.decode() + "\n", sorted(statements[0].named_parameters)
