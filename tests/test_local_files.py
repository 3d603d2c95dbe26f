"""Local files: names that stay in their folder, files that are whole, settings that are read."""

import os
import stat
from pathlib import Path

import pytest

import minus
from minus import MinusConfigError, printable, private_file, read_config, safe_name, whole_file

pytest_plugins = ["tests.accounts"]

# --- names ---

SAFE = {
    "plain name.txt": "plain name.txt",
    "ünï ☃.txt": "ünï ☃.txt",
    "100%.txt": "100%.txt",
    "..a..": "..a..",
    "../x": "..%2Fx",
    "..\\x": "..%5Cx",
    "": "_",
    ".": "%2E",
    "..": "%2E%2E",
    "...": "...",
    "/etc/passwd": "%2Fetc%2Fpasswd",
    "a/b": "a%2Fb",
    "C:\\x": "C:%5Cx",
    "a\x00b": "a%00b",
    "\x1b[31m\r\n\t\x7f": "%1B[31m%0D%0A%09%7F",
    "a\x9bb": "a%C2%9Bb",
    "photo\u202egpj.exe": "photo%E2%80%AEgpj.exe",
    "two 👩\u200d💻.txt": "two 👩\u200d💻.txt",
    "half \ud800": "half %3F",
}


@pytest.mark.parametrize(("name", "safe"), SAFE.items())
def test_a_name_of_the_service_becomes_one_plain_local_name(
    name: str, safe: str, tmp_path: Path
) -> None:
    assert safe_name(name) == safe
    (tmp_path / safe).write_bytes(b"x")
    assert [found.name for found in tmp_path.iterdir()] == [safe]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("x" * 300 + ".tar", "x" * 251 + ".tar"),
        ("x" * 300, "x" * 255),
        ("x" * 255, "x" * 255),
        ("." + "x" * 300, "." + "x" * 254),
        ("☃" * 100 + ".txt", "☃" * 83 + ".txt"),
        ("x." + "y" * 300, "x." + "y" * 253),
        ("/" * 100 + ".txt", "%2F" * 83 + "%2.txt"),
    ],
)
def test_a_long_name_keeps_its_ending_and_fits(name: str, safe: str, tmp_path: Path) -> None:
    assert safe_name(name) == safe
    assert len(safe.encode()) <= 255
    (tmp_path / safe).touch()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a:b?.txt", "a%3Ab%3F.txt"),
        ("NUL", "%4E%55%4C"),
        ("com1.txt", "%63%6F%6D%31%2E%74%78%74"),
        ("dot.", "%64%6F%74%2E"),
        ("console.txt", "console.txt"),
    ],
)
def test_windows_has_more_names_for_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, safe: str
) -> None:
    monkeypatch.setattr(minus, "_ON_WINDOWS", True)
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \\ text", "plain \\ text"),
        ("grüße ☃ 日本", "grüße ☃ 日本"),
        ("\x1b[2J\x07\r\n\t\x7f", "\\x1b[2J\\x07\\r\\n\\t\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egpj.exe\u2066", "a\\u202egpj.exe\\u2066"),
        ("\u2028\u2029\ufeff\u200b", "\\u2028\\u2029\\ufeff\\u200b"),
        ("\ud800\ue000\U000e0041", "\\ud800\\ue000\\U000e0041"),
    ],
)
def test_nothing_that_is_shown_drives_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


# --- whole files ---


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with whole_file(target) as out:
        out.write(b"whole")
        assert not target.exists()
        assert [len(found.name) for found in tmp_path.iterdir()] == [28]
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"whole", [target])


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), whole_file(target) as out:
        out.write(b"new")
        raise error
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"old", [target])


@pytest.mark.parametrize("outside", ["file", "nothing"])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, outside: str) -> None:
    other, target = tmp_path / "other" / outside, tmp_path / "a.txt"
    other.parent.mkdir()
    if outside == "file":
        other.write_bytes(b"outside")
    target.symlink_to(other)
    with pytest.raises(FileExistsError), whole_file(target, replace=False) as out:
        out.write(b"new")
    assert target.is_symlink()
    with whole_file(target) as out:
        out.write(b"new")
    assert (target.is_symlink(), target.read_bytes()) == (False, b"new")
    assert other.exists() is (outside == "file")
    assert outside == "nothing" or other.read_bytes() == b"outside"


def test_nobody_can_lay_a_link_where_the_part_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.urandom", lambda _: b"guessed")
    part = tmp_path / f".minus-{b'guessed'.hex()}.part"
    part.symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "a.txt") as out:
        out.write(b"new")
    assert (part.is_symlink(), [found.name for found in tmp_path.iterdir()]) == (True, [part.name])


@pytest.mark.parametrize("links", [True, False])
def test_without_replace_a_file_that_came_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*_: object, **_more: object) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr("os.link", no_links)
    target = tmp_path / "a.txt"
    with whole_file(target, replace=False) as out:
        out.write(b"first")
    with pytest.raises(FileExistsError), whole_file(target, replace=False) as out:
        out.write(b"second")
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"first", [target])


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.mkdir()
    with pytest.raises(IsADirectoryError), whole_file(target) as out:
        out.write(b"x")
    assert list(tmp_path.iterdir()) == [target]


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "minus" / "tokens" / "a.json"
    private_file(path, b"old")
    path.chmod(0o644)
    private_file(path, b"new")
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parents[1])]
    assert (path.read_bytes(), modes) == (b"new", [0o600, 0o700, 0o700])
    assert list(path.parent.iterdir()) == [path]


# --- settings ---


def config(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_no_config_file_is_no_setting(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(bare.iterdir()) == []
    assert read_config() == {}
    monkeypatch.setenv("MINUS_CONFIG", "")
    assert read_config() == {}


def test_the_config_file_is_looked_for_in_order(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(bare / ".config" / "minus" / "minus.conf", "[api]\nurl: http://xdg.test\n")
    assert read_config() == {"url": "http://xdg.test"}
    config(bare / ".minus.conf", "[api]\nurl = http://home.test\n")
    assert read_config() == {"url": "http://home.test"}
    config(bare / "other", "[api]\nurl: http://environment.test\n")
    monkeypatch.setenv("MINUS_CONFIG", "~/other")
    assert read_config() == {"url": "http://environment.test"}
    config(bare / "given", "[api]\nurl: http://argument.test\n")
    assert read_config("~/given") == {"url": "http://argument.test"}


def test_the_settings_are_taken_as_they_stand(tmp_path: Path) -> None:
    text = (
        "[other]\nurl: x\n[api]\napi_key: K\napi_secret: 50%(x)s%\nurl:\nusername: é\ncolor: red\n"
    )
    read = read_config(config(tmp_path / "minus.conf", text))
    assert read == {"api_key": "K", "api_secret": "50%(x)s%", "username": "é"}
    assert read_config(config(tmp_path / "none", "[other]\nurl: x\n")) == {}


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_named_config_file_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    path = tmp_path / "missing.conf"
    monkeypatch.setenv("MINUS_CONFIG", str(path))
    with pytest.raises(MinusConfigError) as caught:
        read_config(path if by == "argument" else None)
    assert str(caught.value) == f"there is no config file {path}"


@pytest.mark.parametrize(
    "content",
    [
        b"password: hush\n",
        b"[api\npassword: hush\n",
        b"[api]\npassword hush\n",
        b"[api]\npassword: hush\npassword: hush\n",
        b"[api]\npassword: hush\xff\n",
    ],
)
def test_what_is_no_config_file_is_an_error_without_its_words(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "minus.conf"
    path.write_bytes(content)
    with pytest.raises(MinusConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path} is no config file: ")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(MinusConfigError, match=r"is no config file: .*Is a directory"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_a_password_that_others_can_read_is_refused(
    tmp_path: Path, mode: int, refused: bool
) -> None:
    path = config(tmp_path / "minus.conf", "[api]\npassword: hush\n", mode)
    if not refused:
        assert read_config(path) == {"password": "hush"}
        return
    with pytest.raises(MinusConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"others can read the password in {path}: chmod 600 {path}"


def test_a_key_alone_may_be_readable(tmp_path: Path) -> None:
    path = config(tmp_path / "minus.conf", "[api]\napi_key: K\napi_secret: S\n", 0o644)
    assert read_config(path) == {"api_key": "K", "api_secret": "S"}


@pytest.mark.parametrize("half", ["api_key", "api_secret"])
@pytest.mark.parametrize("place", ["argument", "environment", "file"])
def test_half_a_pair_is_an_error(
    bare: Path, monkeypatch: pytest.MonkeyPatch, half: str, place: str
) -> None:
    monkeypatch.setenv("MINUS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MINUS_USERNAME", "alice")
    key, secret = (
        [["x", None], [None, "x"]][half == "api_secret"] if place == "argument" else [None] * 2
    )
    if place == "environment":
        monkeypatch.setenv(f"MINUS_{half.upper()}", "x")
    if place == "file":
        config(bare / ".minus.conf", f"[api]\n{half}: x\n")
    with pytest.raises(MinusConfigError, match="both an api_key and an api_secret"):
        minus.connect(api_key=key, api_secret=secret)


def test_an_address_and_a_data_folder_exclude_each_other(bare: Path) -> None:
    with pytest.raises(MinusConfigError) as caught:
        minus.connect("http://127.0.0.1:9", data=bare)
    assert str(caught.value) == "a service's address and a data folder exclude each other"


def test_the_folders_of_our_own_follow_the_environment(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert minus.state_folder() == bare / ".local" / "state" / "minus"
    assert minus.data_folder() == bare / ".local" / "share" / "minus"
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    assert (minus.state_folder(), minus.data_folder()) == (Path("/s/minus"), Path("/d/minus"))
    monkeypatch.setenv("MINUS_DATA", "/m")
    assert os.fspath(minus.data_folder()) == "/m"
