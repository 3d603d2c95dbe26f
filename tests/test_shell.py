"""The shell: every command, in the words that its users know."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses

from minus import MinusCLI, MinusConnection, MinusFolder
from tests.live import Service
from tests.rawhttp import PASSWORD, Client, Row, new_user, png
from tests.shell_helpers import (
    PATIENCE,
    Said,
    Stalling,
    Terminal,
    configure,
    endless,
    here,
    put_remote,
    remote,
    run,
    settle,
    stalling,
    text_stream,
    written,
)

RULE = "-" * 80
FOLDERS = f"Folder                        Updated              Files  Creator  Visibility\n{RULE}\n"
FILES = f"Name                          Uploaded                 Size  Title\n{RULE}\n"

COMMANDS = (
    "cd del get lcd lpwd ls mget mkdir mkpublic mput put pwd rmdir stat bye quit exit dir rm delete"
    " lls cat rename caption title public private order link df help"
)


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the shell is in, on this side."""
    return settle(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def account(service: Service) -> Client:
    return new_user(service, "shell")


@pytest.fixture
def user(account: Client) -> Iterator[Client]:
    """A user who has nothing yet."""
    yield account
    for row in account.results(f"users/{account.slug}/folders"):
        account.delete(f"folders/{row['id']}")


@pytest.fixture
def stuff(user: Client) -> Row:
    """The private folder Stuff."""
    return user.folder("Stuff", "false")


class Shell:
    """The shell as a function: a line in, what it says out."""

    def __init__(self, user: Client, stdin: bytes = b"", on_conflict: str = "") -> None:
        service = user.service
        self.api = MinusConnection(service.api_key, service.api_secret, url=service.url)
        self.api.access_token = user.token
        self.stdin, self.out, self.err = text_stream(stdin), text_stream(), text_stream()
        streams = self.stdin, self.out, self.err
        self.cli = MinusCLI(self.api.activeuser(), *streams, on_conflict=on_conflict)

    def __call__(self, *lines: str) -> Said:
        for line in lines:
            self.cli.onecmd(line)
        return Said(written(self.out), written(self.err))


@pytest.fixture
def shell(user: Client) -> Iterator[Shell]:
    """The shell at the root."""
    made = Shell(user)
    yield made
    made.api.close()


@pytest.fixture
def inside(shell: Shell, stuff: Row) -> Shell:
    """The shell in the folder Stuff."""
    assert shell(f"cd {stuff['name']}") == ('--> CWD "Stuff" OK\n', "")
    return shell


def file_line(row: Row, title: str = "-") -> str:
    return f"{row['name']:<30}{row['uploaded']}  {row['filesize']:>8}  {title}\n"


# --- the session of 2012 ---


def test_the_sample_session_of_2012_reads_line_by_line(
    user: Client, service: Service, local: Path, tmp_path: Path
) -> None:
    pictures = {"SNV33271.jpg": b"a" * 251673, "SNV33183.jpg": b"b" * 176134}
    stuff, public = user.folder("Stuff", "false"), user.folder("Stuff2", "true")
    first, second = (user.upload(data, name, stuff) for name, data in pictures.items())
    updated = user.get(f"folders/{stuff['id']}")["date_last_updated"]
    (local / "t1.data").write_bytes(b"c" * 13672)
    configure(tmp_path, service)
    at, in_stuff = f"(Minus:{user.name}) [/] : ", f"(Minus:{user.name}) [/Stuff] : "
    with Terminal("--username", user.name) as terminal:
        terminal.until("Password: ")
        terminal.type(f"{PASSWORD}\n")
        for prompt, line in [
            (at, "ls"),
            (at, "cd Stuff"),
            (in_stuff, "ls"),
            (in_stuff, "get SNV33271.jpg"),
            (in_stuff, "put t1.data"),
            (in_stuff, ""),
            (in_stuff, "bye"),
        ]:
            terminal.until(prompt)
            terminal.type(f"{line}\n")
        status, shown = terminal.end()
    assert status == 0
    assert shown == (
        "Password: \n"
        f"{at}ls\n"
        "Folder                        Updated              Files  Creator  Visibility\n"
        "--------------------------------------------------------------------------------\n"
        f"Stuff                         {updated}      2  {user.slug:<8} private\n"
        f"Stuff2                        {public['date_last_updated']}      0"
        f"  {user.slug:<8} public\n"
        f"{at}cd Stuff\n"
        '--> CWD "Stuff" OK\n'
        f"{in_stuff}ls\n"
        "Name                          Uploaded                 Size  Title\n"
        "--------------------------------------------------------------------------------\n"
        f"SNV33271.jpg                  {first['uploaded']}    251673  -\n"
        f"SNV33183.jpg                  {second['uploaded']}    176134  -\n"
        f"{in_stuff}get SNV33271.jpg\n"
        '--> GET "SNV33271.jpg" OK (251673 bytes)\n'
        f"{in_stuff}put t1.data\n"
        '--> PUT "t1.data" OK (13672 bytes)\n'
        f"{in_stuff}\n"
        f"{in_stuff}bye\n"
    )
    assert (local / "SNV33271.jpg").read_bytes() == pictures["SNV33271.jpg"]
    assert remote(user, stuff) == {**pictures, "t1.data": b"c" * 13672}


# --- folders ---


@pytest.mark.parametrize(
    ("lines", "name", "folder"),
    [
        (["cd Stuff"], "Stuff", "Stuff"),
        (['cd "My Stuff"'], "My Stuff", "My Stuff"),
        (["cd My\\ Stuff"], "My Stuff", "My Stuff"),
        (["cd Stuff", "cd .."], "..", "/"),
        (["cd Stuff", "cd '../My Stuff'"], "../My Stuff", "My Stuff"),
        (["cd Stuff", "cd '/My Stuff'"], "/My Stuff", "My Stuff"),
        (["cd Stuff", "cd /"], "/", "/"),
        (["cd Stuff", "cd"], "/", "/"),
        (["cd Stuff", "cd ."], ".", "Stuff"),
        (["cd Stuff", "cd 'My Stuff'", "cd -"], "-", "Stuff"),
        (["cd Stuff", "cd -", "cd -"], "-", "Stuff"),
        (["cd Stuff", "cd nowhere", "cd -"], "-", "/"),
        (["cd Stuff", "cd.."], "..", "/"),
    ],
)
def test_cd_goes_where_each_form_of_it_says(
    shell: Shell, user: Client, lines: list[str], name: str, folder: str
) -> None:
    user.folder("Stuff"), user.folder("My Stuff")
    shell(*lines[:-1])
    assert shell(lines[-1]) == (f'--> CWD "{name}" OK\n', "")
    assert shell("pwd") == (f"Folder: {folder}\n", "")


def test_a_folder_is_named_by_its_id_where_names_are_not_enough(shell: Shell, user: Client) -> None:
    first, second = user.folder("Stuff"), user.folder("Stuff")
    user.folder("@home")
    assert shell(f"cd @{second['id']}") == (f'--> CWD "@{second["id"]}" OK\n', "")
    assert shell("link") == (f"{user.base}m{second['id']}\n", "")
    assert shell("cd Stuff", "link").out.endswith(f"{user.base}m{first['id']}\n")
    assert shell("cd @home", "pwd").out == '--> CWD "@home" OK\nFolder: @home\n'
    assert shell(f"rmdir @{first['id']}") == (f'--> RMDIR "@{first["id"]}" OK\n', "")
    assert user.values(f"users/{user.slug}/folders", "id")[0] == second["id"]


@pytest.mark.parametrize("name", ["nowhere", "../nowhere", "@nowhere", "@", "stuff", "Stu*"])
def test_cd_to_nowhere_fails_and_stays(inside: Shell, name: str) -> None:
    why = f"no such folder: {name.removeprefix('../')}"
    assert inside(f"cd {name}") == ("", f'--> CWD "{name}" FAILED ({why})\n')
    assert inside("pwd") == ("Folder: Stuff\n", "")
    assert inside.cli.statuses == [0, 3]


def test_folders_are_made_private_or_public_and_removed_with_their_files(
    shell: Shell, user: Client
) -> None:
    assert shell('mkdir Stuff "a b"').out == '--> MKDIR "Stuff" OK\n--> MKDIR "a b" OK\n'
    assert shell("mkpublic Stuff2") == ('--> MKPUBLIC "Stuff2" OK\n', "")
    rows = user.results(f"users/{user.slug}/folders")
    seen = [(row["name"], row["is_public"]) for row in rows]
    assert seen == [("Stuff", False), ("a b", False), ("Stuff2", True)]
    user.upload(folder=rows[0])
    shell("cd Stuff")
    assert shell('rmdir Stuff nowhere "a b"') == (
        '--> RMDIR "Stuff" OK\n--> RMDIR "a b" OK\n',
        '--> RMDIR "nowhere" FAILED (no such folder: nowhere)\n',
    )
    assert shell("pwd") == ("Folder: /\n", "")
    assert user.values(f"users/{user.slug}/folders", "name") == ["Stuff2"]


def test_an_existing_file_is_put_although_its_name_looks_like_a_command(
    inside: Shell, user: Client, stuff: Row, local: Path
) -> None:
    (local / "touch pwned|").write_bytes(b"text")
    for line in ("put 'touch pwned|' a", "put touch\\ pwned\\| b"):
        assert inside(line)[1] == ""
    assert remote(user, stuff) == {"a": b"text", "b": b"text"}
    assert sorted(here(local)) == ["touch pwned|"]


def test_ls_lists_the_folders_that_match(shell: Shell, user: Client) -> None:
    rows = [user.folder("Stuff", "false"), user.folder("Stuff2"), user.folder("a" * 31)]
    creator = f"{user.slug:<8}"
    lines = [
        f"Stuff                         {rows[0]['date_last_updated']}      0  {creator} private\n",
        f"Stuff2                        {rows[1]['date_last_updated']}      0  {creator} public\n",
        f"{'a' * 31} {rows[2]['date_last_updated']}      0  {creator} public\n",
    ]
    assert shell("ls") == (FOLDERS + "".join(lines), "")
    assert shell("ls S*2 a*").out == FOLDERS + lines[1] + lines[2]
    assert shell("ls -l Stuff") == (FOLDERS + lines[0], "")
    assert shell("ls x*") == (FOLDERS, "minus: no folder matches x*\n")
    assert shell.cli.statuses == [3]


def test_a_folder_is_published_and_hidden_again(inside: Shell, user: Client, stuff: Row) -> None:
    path = f"folders/{stuff['id']}"
    assert inside("public") == ('--> PUBLIC "Stuff" OK\n', "")
    assert user.get(path)["is_public"] is True
    assert inside("cd", "private Stuff").out.endswith('--> PRIVATE "Stuff" OK\n')
    assert user.get(path)["is_public"] is False
    why = "no such folder: nowhere"
    assert inside("public nowhere") == ("", f'--> PUBLIC "nowhere" FAILED ({why})\n')


def test_a_folder_is_renamed_from_outside_and_its_files_from_inside(
    inside: Shell, user: Client, stuff: Row
) -> None:
    user.upload(b"text", "a.txt", stuff)
    assert inside("rename a.txt 'b c.txt'") == ('--> RENAME "a.txt" OK\n', "")
    assert remote(user, stuff) == {"b c.txt": b"text"}
    assert inside("rename a.txt b.txt").err == '--> RENAME "a.txt" FAILED (no such file: a.txt)\n'
    assert inside("cd", "rename Stuff Things").out.endswith('--> RENAME "Stuff" OK\n')
    assert user.values(f"users/{user.slug}/folders", "name") == ["Things"]


# --- files ---


def test_ls_lists_the_files_that_match(inside: Shell, user: Client, stuff: Row) -> None:
    names = {"b.txt": b"22", "a.txt": b"1", "c.jpg": b"333", "[x].txt": b"4444"}
    b, a, c, x = (user.upload(data, name, stuff) for name, data in names.items())
    user.ok("PUT", f"files/{c['id']}", {"title": "A cat"})
    everything = [file_line(b), file_line(a), file_line(c, "A cat"), file_line(x)]
    assert inside("ls") == (FILES + "".join(everything), "")
    assert inside("dir") == inside("ls -l") == inside("ls")
    assert inside("ls *.txt") == (FILES + everything[0] + everything[1] + everything[3], "")
    assert inside("ls c.jpg ?.txt").out == FILES + everything[0] + everything[1] + everything[2]
    assert inside(f"ls @{c['id']}") == (FILES + everything[2], "")
    assert inside("ls \\[x\\].txt").out == inside("ls '[x].txt'").out == FILES + everything[3]
    said = FILES + everything[2], "minus: no file matches *.png\n"
    assert inside("ls *.png c*") == said
    assert inside.cli.statuses == [0, 4]


@pytest.mark.parametrize(
    ("name", "shown", "saved"),
    [
        ("\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07", "%1B]0;pwned%07"),
        ("a\n--> DEL", "a\\n--> DEL", "a%0A--> DEL"),
        ("\x9b2J\u202etxt", "\\x9b2J\\u202etxt", "%C2%9B2J%E2%80%AEtxt"),
        ("../up.txt", "../up.txt", "..%2Fup.txt"),
        ("..", "..", "%2E%2E"),
        ("/etc/passwd", "/etc/passwd", "%2Fetc%2Fpasswd"),
        ("..\\up.txt", "..\\up.txt", "..%5Cup.txt"),
        ("", "", "_"),
    ],
)
def test_a_hostile_service_drives_no_terminal_and_leaves_no_folder(
    shell: Shell, local: Path, name: str, shown: str, saved: str
) -> None:
    far = "https://hostile.example/"
    shell.api.url, shell.api._known = far, {}
    shell.cli.folder = MinusFolder(shell.api, f"{far}api/v2/folders/F", {"id": "F", "name": name})
    file = {"id": "I", "name": name, "title": name, "filesize": 4, "url_rawfile": f"{far}i"}
    page = {"results": [file], "total": 1, "next": None}
    with responses.RequestsMock() as wire:
        wire.get(f"{far}api/v2/folders/F/files", json=page)
        wire.get(f"{far}i", body=b"text")
        said = shell("pwd", "ls", "mget *")
    gap = " " * max(0, 29 - len(name))
    assert said == (
        f"Folder: {shown}\n{FILES}{shown}{gap} -                           4  {shown or '-'}\n"
        f'--> MGET "{shown}" OK (4 bytes)\n',
        "",
    )
    assert here(local) == {saved: b"text"}


def test_stat_shows_a_block_for_each_file(inside: Shell, user: Client, stuff: Row) -> None:
    row = user.upload(png(3, 2), "a.png", stuff)
    row = user.ok("PUT", f"files/{row['id']}", {"title": "A cat", "caption": "\u202eMine"})
    other = user.upload(b"text", "b.txt", stuff)
    assert inside("stat a.png b.txt x*") == (
        f"Id:          {row['id']}\n"
        "Name:        a.png\n"
        "Title:       A cat\n"
        "Caption:     \\u202eMine\n"
        f"Filesize:    {len(png(3, 2))}\n"
        "MIME Type:   image/png\n"
        f"Uploaded:    {row['uploaded']}\n"
        f"URL:         {row['url']}\n"
        f"URL (Raw):   {row['url_rawfile']}\n"
        f"URL (Thumb): {row['url_thumbnail']}\n"
        "\n"
        f"Id:          {other['id']}\n"
        "Name:        b.txt\n"
        "Title:\n"
        "Caption:\n"
        "Filesize:    4\n"
        "MIME Type:   text/plain\n"
        f"Uploaded:    {other['uploaded']}\n"
        f"URL:         {other['url']}\n"
        f"URL (Raw):   {other['url_rawfile']}\n"
        f"URL (Thumb): {other['url_thumbnail']}\n"
        "\n",
        "minus: no file matches x*\n",
    )


def test_texts_order_and_links_of_files(inside: Shell, user: Client, stuff: Row) -> None:
    a, b, c = (user.upload(name=name, folder=stuff) for name in ("a", "b", "c"))
    assert inside('caption a "A cat"', "title a Cat") == (
        '--> CAPTION "a" OK\n--> TITLE "a" OK\n',
        "",
    )
    assert inside('caption b ""').out == '--> CAPTION "b" OK\n'
    row = user.get(f"files/{a['id']}")
    assert (row["caption"], row["title"]) == ("A cat", "Cat")
    assert inside(f"order @{c['id']} b") == ('--> ORDER "Stuff" OK\n', "")
    assert user.values(f"folders/{stuff['id']}/files", "name") == ["c", "b", "a"]
    assert inside("order a x") == ("", '--> ORDER "Stuff" FAILED (no such file: x)\n')
    assert inside("link a b") == (f"{user.base}l{b['id']}\n{user.base}l{a['id']}\n", "")
    assert inside("cd", "link Stuff").out.endswith(f"{user.base}m{stuff['id']}\n")


@pytest.mark.parametrize("command", ["del", "rm", "delete"])
def test_del_deletes_what_matches_and_nothing_else(
    inside: Shell, user: Client, stuff: Row, command: str
) -> None:
    rows = [user.upload(name=name, folder=stuff) for name in ("a1", "a2", "b", "b", "*", "[c]")]
    assert inside(f"{command} a? [x]") == (
        '--> DEL "a1" OK\n--> DEL "a2" OK\n',
        "minus: no file matches [x]\n",
    )
    assert inside(f"{command} @{rows[2]['id']}") == ('--> DEL "b" OK\n', "")
    assert inside(f"{command} \\* '[c]'") == ('--> DEL "*" OK\n--> DEL "[c]" OK\n', "")
    assert user.values(f"folders/{stuff['id']}/files", "id") == [rows[3]["id"]]
    assert inside.cli.statuses == [0, 4, 0, 0, 0, 0, 0]


# --- getting ---


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("get a.txt", "a.txt"),
        ("get a.txt b.txt", "b.txt"),
        ("get a.txt 'my file'", "my file"),
        ("get a.txt sub", "sub/a.txt"),
        ("get a.txt sub/b", "sub/b"),
        ("get a.txt ~/local/c", "c"),
    ],
)
def test_get_saves_where_it_is_told(
    inside: Shell, user: Client, stuff: Row, local: Path, line: str, target: str
) -> None:
    user.upload(b"one\r\ntwo\x00\xff", "a.txt", stuff)
    (local / "sub").mkdir()
    assert inside(line) == ('--> GET "a.txt" OK (10 bytes)\n', "")
    found = {p.relative_to(local).as_posix(): p.read_bytes() for p in local.rglob("*.*")}
    assert (local / target).read_bytes() == b"one\r\ntwo\x00\xff"
    assert len([p for p in local.rglob("*") if p.is_file()]) == 1, found


def test_get_writes_to_standard_output_and_into_commands(
    inside: Shell,
    user: Client,
    stuff: Row,
    local: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    row = user.upload(b"text\n", "a.txt", stuff)
    assert inside("get a.txt -") == ("text\n", '--> GET "a.txt" OK (5 bytes)\n')
    assert inside("cat a.txt a*") == ("text\n", "")
    assert inside(f"cat @{row['id']}") == ("text\n", "")
    done = '--> GET "a.txt" OK (5 bytes)\n', ""
    assert inside("get a.txt |tr a-z A-Z") == inside("get a.txt '|tr a-z A-Z'") == done
    assert capfd.readouterr().out == "TEXT\nTEXT\n"
    assert inside("get a.txt |exit 3").err == (
        '--> GET "a.txt" FAILED (the command ended with status 3)\n'
    )
    user.upload(bytes(1 << 20), "big", stuff)
    assert inside("get big |head -c 1 | wc -c").out == '--> GET "big" OK (1048576 bytes)\n'
    assert capfd.readouterr().out.strip() == "1"
    assert here(local) == {}


def test_get_of_nothing_fails(inside: Shell, local: Path) -> None:
    for line in ("get x.txt", "get x.txt -", "get x.txt |cat", "get @nothing"):
        name = line.split()[1]
        assert inside(line) == ("", f'--> GET "{name}" FAILED (no such file: {name})\n')
    assert inside("mget *") == ("", "minus: no file matches *\n")
    assert inside("get a.txt sub/a.txt").err.startswith('--> GET "a.txt" FAILED (')
    assert here(local) == {}


def test_mget_saves_what_matches_and_namesakes_all_arrive(
    inside: Shell, user: Client, stuff: Row, local: Path
) -> None:
    names = ["a.txt", "a.txt", "A.TXT", "b.txt", "c.jpg"]
    rows = [user.upload(str(number).encode(), name, stuff) for number, name in enumerate(names)]
    assert inside("mget *.txt A*") == (
        '--> MGET "a.txt" OK (1 bytes)\n'
        '--> MGET "a.txt" OK (1 bytes)\n'
        '--> MGET "A.TXT" OK (1 bytes)\n'
        '--> MGET "b.txt" OK (1 bytes)\n',
        "",
    )
    files = {"a.txt": b"0", "a (2).txt": b"1", "A (3).TXT": b"2", "b.txt": b"3"}
    assert here(local) == files
    assert inside(f"get @{rows[4]['id']}").out == '--> GET "c.jpg" OK (1 bytes)\n'
    assert here(local) == {**files, "c.jpg": b"4"}


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("|touch pwned", "|touch pwned"),
        ("date|", "date|"),
        ("-", "-"),
        ("~", "~"),
        ("$(touch pwned)", "$(touch pwned)"),
    ],
)
@pytest.mark.parametrize("command", ["mget *", "get @{id}"])
def test_a_name_that_the_service_gave_is_no_command(
    inside: Shell, user: Client, stuff: Row, local: Path, name: str, saved: str, command: str
) -> None:
    row = put_remote(user, stuff, name)
    said = inside(command.format(id=row["id"]))
    assert (said.out.count("OK (4 bytes)"), said.err) == (1, "")
    assert here(local) == {saved: b"text"}


@pytest.mark.parametrize(
    ("choice", "files", "status", "err"),
    [
        (None, {"a": b"old"}, 8, "FAILED (a exists here with other bytes)"),
        ("skip", {"a": b"old"}, 8, "FAILED (a exists here with other bytes)"),
        ("overwrite", {"a": b"new"}, 0, ""),
        ("rename", {"a": b"old", "a (2)": b"new"}, 0, ""),
    ],
)
def test_a_local_file_with_other_bytes_is_kept_unless_told_otherwise(
    user: Client,
    stuff: Row,
    local: Path,
    choice: str | None,
    files: dict[str, bytes],
    status: int,
    err: str,
) -> None:
    shell = Shell(user, on_conflict=choice or "")
    user.upload(b"new", "a", stuff)
    (local / "a").write_bytes(b"old")
    said = shell("cd Stuff", "get a")
    assert said.err == (f'--> GET "a" {err}\n' if err else "")
    assert (here(local), shell.cli.statuses) == (files, [0, status])
    shell.api.close()


# --- putting ---


def test_put_stores_files_and_the_output_of_commands(
    inside: Shell, user: Client, stuff: Row, local: Path
) -> None:
    (local / "a.txt").write_bytes(b"one\r\n\x00\xff")
    (local / "my file").write_bytes(b"")
    assert inside("put a.txt", "put a.txt b.txt", "put 'my file'", "put ~/local/a.txt c") == (
        '--> PUT "a.txt" OK (7 bytes)\n'
        '--> PUT "b.txt" OK (7 bytes)\n'
        '--> PUT "my file" OK (0 bytes)\n'
        '--> PUT "c" OK (7 bytes)\n',
        "",
    )
    assert inside("put pwd| where.txt", "put \"printf '%s' 'a b'|\" list.txt") == (
        f'--> PUT "where.txt" OK ({len(str(local)) + 1} bytes)\n--> PUT "list.txt" OK (3 bytes)\n',
        "",
    )
    assert remote(user, stuff) == {
        **dict.fromkeys(("a.txt", "b.txt", "c"), b"one\r\n\x00\xff"),
        "my file": b"",
        "where.txt": f"{local}\n".encode(),
        "list.txt": b"a b",
    }


def test_put_makes_a_second_file_of_the_name(
    inside: Shell, user: Client, stuff: Row, local: Path
) -> None:
    for text in ("one", "two"):
        (local / "a.txt").write_text(text)
        assert inside("put a.txt") == ('--> PUT "a.txt" OK (3 bytes)\n', "")
    assert user.values(f"folders/{stuff['id']}/files", "name") == ["a.txt", "a.txt"]


def test_a_command_that_fails_stores_nothing(inside: Shell, user: Client, stuff: Row) -> None:
    assert inside('put "echo half; exit 3|" a.txt') == (
        "",
        '--> PUT "a.txt" FAILED (the command ended with status 3)\n',
    )
    assert remote(user, stuff) == {}


def test_put_refuses_what_is_no_file(inside: Shell, user: Client, stuff: Row, local: Path) -> None:
    (local / "sub").mkdir()
    assert inside("put sub") == ("", '--> PUT "sub" FAILED (is a directory)\n')
    assert inside("put x y") == ("", '--> PUT "y" FAILED (No such file or directory: x)\n')
    assert inside("put date|", "put -") == (
        "",
        "minus: a NAME must follow: put - NAME, put COMMAND| NAME\n" * 2,
    )
    assert inside.cli.statuses == [0, 11, 4, 2, 2]
    assert remote(user, stuff) == {}


def test_put_reads_standard_input(user: Client, stuff: Row) -> None:
    shell = Shell(user, b"one\r\n\x00\xfftwo")
    assert shell("cd Stuff", "put - a.bin").out.endswith('--> PUT "a.bin" OK (10 bytes)\n')
    assert remote(user, stuff) == {"a.bin": b"one\r\n\x00\xfftwo"}
    shell.api.close()


def test_mput_stores_what_matches_and_takes_no_name_for_a_command(
    inside: Shell, user: Client, stuff: Row, local: Path
) -> None:
    for name in ("date|", "-", "|touch pwned", "a.txt", "[b].txt"):
        (local / name).write_text(name)
    (local / ".hidden").write_text("")
    (local / "sub").mkdir()
    assert inside("mput *| - x* '[b].txt' s* a*") == (
        '--> MPUT "date|" OK (5 bytes)\n'
        '--> MPUT "-" OK (1 bytes)\n'
        '--> MPUT "[b].txt" OK (7 bytes)\n'
        '--> MPUT "a.txt" OK (5 bytes)\n',
        'minus: no local file matches x*\n--> MPUT "sub" FAILED (is a directory)\n',
    )
    assert inside("mput ?touch*", "mput ~/local/[a].txt").out == (
        '--> MPUT "|touch pwned" OK (12 bytes)\n--> MPUT "a.txt" OK (5 bytes)\n'
    )
    stored = remote(user, stuff)
    assert stored == {name: name.encode() for name in stored}
    assert sorted(stored) == ["-", "[b].txt", "a.txt", "date|", "|touch pwned"]
    assert inside.cli.statuses == [0, 4, 0, 0, 0, 11, 0, 0, 0]


# --- the account ---


def test_df_tells_of_the_account(inside: Shell, user: Client, stuff: Row) -> None:
    user.upload(b"1234", folder=stuff)
    assert inside("df") == ("Used: 4 of 1099511627776 bytes (0.0%)\n", "")


# --- this side ---


def test_the_local_folder_is_shown_changed_and_listed(
    shell: Shell, local: Path, tmp_path: Path
) -> None:
    (local / "sub").mkdir()
    (local / "sub/a\x07.txt").touch()
    assert shell("lpwd") == (f"Local Path: {local}\n", "")
    assert shell("lls") == ("sub/\n", "")
    assert shell("lcd sub") == (f"Local Path: {local}/sub\n", "")
    assert shell("lls", "lls *.jpg") == ("a\\x07.txt\n", "")
    assert shell("lcd -") == (f"Local Path: {local}\n", "")
    assert shell("lcd") == (f"Local Path: {tmp_path}\n", "")
    assert shell("lcd ~/local") == (f"Local Path: {local}\n", "")
    assert shell("lcd nowhere") == ("", "minus: No such file or directory: nowhere\n")
    assert shell("lpwd") == (f"Local Path: {local}\n", "")


def test_commands_of_the_system_run_where_the_shell_is(
    shell: Shell, local: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shell("!pwd", "shell echo 'a  b'") == ("", "")
    assert capfd.readouterr() == (f"{local}\na  b\n", "")
    assert shell("!exit 3") == ("", "minus: the command ended with status 3\n")
    assert shell.cli.statuses == [1]


# --- the shell itself ---


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("frobnicate x", "no such command: frobnicate (help lists them)"),
        ("\x1b[2J", "no such command: \\x1b[2J (help lists them)"),
        ("cd 'Stuff", "a ' is not closed"),
        ('get "a b', 'a " is not closed'),
        ("cd a b", "usage: cd [FOLDER | .. | ../FOLDER | / | -]"),
        ("get", "usage: get [-c] FILE [LOCAL | - | |COMMAND]"),
        ("get a b c", "usage: get [-c] FILE [LOCAL | - | |COMMAND]"),
        ("put", "usage: put [-c] LOCAL [NAME]"),
        ("mget", "usage: mget [-c] PATTERN.."),
        ("del", "usage: del PATTERN.."),
        ("stat", "usage: stat PATTERN.."),
        ("mkdir", "usage: mkdir NAME.."),
        ("rmdir", "usage: rmdir NAME.."),
        ("rename a", "usage: rename OLD NEW"),
        ("caption a", "usage: caption FILE TEXT"),
        ("order", "usage: order FILE.."),
    ],
)
def test_what_cannot_be_understood_is_said_in_one_line(inside: Shell, line: str, why: str) -> None:
    assert inside(line) == ("", f"minus: {why}\n")
    assert inside.cli.statuses == [0, 2]


@pytest.mark.parametrize(
    "line", ["put x", "put - x", "mput /dev/null", "get x", "mget x", "del x", "cat x", "stat x"]
)
def test_files_need_a_folder(shell: Shell, line: str) -> None:
    assert shell(line).err.count("this needs a folder: cd FOLDER first") == 1
    assert shell.cli.statuses == [2]


def test_outside_of_a_folder_the_folder_is_to_be_named(shell: Shell) -> None:
    why = "minus: this needs a folder: cd FOLDER first\n"
    assert shell("public", "private") == ("", why * 2)
    assert shell("link") == ("", "minus: usage: link [NAME..]\n")


def test_an_empty_line_does_nothing(shell: Shell) -> None:
    assert shell("mkdir a", "", "   ").out == '--> MKDIR "a" OK\n'


@pytest.mark.parametrize("line", ["bye", "quit", "exit", "EOF"])
def test_the_shell_is_left(shell: Shell, line: str) -> None:
    assert shell.cli.onecmd(line) is True
    assert shell.cli.onecmd("pwd") is False


def test_help_lists_the_commands_and_tells_of_each(shell: Shell) -> None:
    listed = shell("help").out
    assert shell("?").out == listed
    names = set(listed.split("=\n")[-1].split())
    assert names >= set(COMMANDS.split())
    assert shell("help cd", "?pwd") == (
        "cd [FOLDER | .. | ../FOLDER | / | -]: change the remote folder.\n"
        "pwd: show the remote folder.\n",
        "",
    )
    for name in names - {"help", "EOF"}:
        first = shell(f"help {name}").out.splitlines()[0]
        assert ": " in first, name
        assert first.endswith("."), name


# --- completion ---


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("get SNV", ["SNV1.jpg", "SNV2.jpg"]),
        ("get ", ["SNV1.jpg", "SNV2.jpg", "my\\ file.txt", "w\\|h\\*t"]),
        ("del SNV1.jpg SNV2", ["SNV2.jpg"]),
        ("stat my", ["my\\ file.txt"]),
        ("cat my\\ fi", ["file.txt"]),
        ("get w", ["w\\|h\\*t"]),
        ("get x", []),
        ("cd St", ["Stuff"]),
        ("rmdir O", ["Other\\ Stuff"]),
        ("cd Other\\ S", ["Stuff"]),
        ("put lo", ["local.txt"]),
        ("mput s", ["sub/"]),
        ("put sub/in", ["sub/inner\\ file"]),
        ("put ~/local/lo", ["~/local/local.txt"]),
        ("lcd s", ["sub/"]),
    ],
)
def test_tab_completes_the_names_that_a_command_takes(
    inside: Shell, user: Client, stuff: Row, local: Path, typed: str, found: list[str]
) -> None:
    user.folder("Other Stuff")
    for name in ("SNV1.jpg", "SNV2.jpg", "my file.txt", "w|h*t"):
        put_remote(user, stuff, name)
    (local / "sub").mkdir()
    for name in ("local.txt", "sub/inner file"):
        (local / name).touch()
    begin = typed.rindex(" ") + 1  # as readline cuts it, at blanks
    assert inside.cli.completedefault(typed[begin:], typed, begin, len(typed)) == found


def test_a_completed_name_means_the_file_again(inside: Shell, user: Client, stuff: Row) -> None:
    for name in ("a  b", "it's", 'd"e', "*[g]?", "|date", "date|", "@x", "-"):
        put_remote(user, stuff, name, name.encode())
        (completed,) = inside.cli.completedefault("", "cat ", 4, 4)
        assert inside(f"cat {completed}") == (name, "")
        assert inside(f"del {completed}").err == ""


# --- as a process ---


@pytest.fixture
def signed_in(
    service: Service, user: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Client:
    """A user whom the real command knows."""
    configure(tmp_path, service, username=user.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    return user


@pytest.mark.usefixtures("signed_in", "stuff")
def test_piped_commands_say_no_prompt_and_fail_when_one_failed() -> None:
    assert run(stdin="pwd\ncd Stuff\nfoo\npwd") == (
        11,
        'Folder: /\n--> CWD "Stuff" OK\nFolder: Stuff\n',
        "minus: no such command: foo (help lists them)\n",
    )
    assert run(stdin="cd Stuff\n\npwd\nbye\nfoo\n") == (
        0,
        '--> CWD "Stuff" OK\nFolder: Stuff\n',
        "",
    )
    assert run(stdin="cd nowhere\n").status == 3


def test_put_takes_the_rest_of_piped_input(signed_in: Client, stuff: Row) -> None:
    assert run(stdin="cd Stuff\nput - a.txt\none\ntwo\n") == (
        0,
        '--> CWD "Stuff" OK\n--> PUT "a.txt" OK (8 bytes)\n',
        "",
    )
    assert remote(signed_in, stuff) == {"a.txt": b"one\ntwo\n"}


def test_history_is_kept_between_sessions_for_its_owner_only(
    signed_in: Client, tmp_path: Path
) -> None:
    prompt = f"(Minus:{signed_in.name}) [/] : "
    history = tmp_path / "state/minus/history"
    with Terminal() as terminal:
        for line in ("pwd", "bye"):
            terminal.until(prompt)
            terminal.type(f"{line}\n")
        assert terminal.end()[0] == 0
    assert history.read_text() == "pwd\nbye\n"
    with Terminal() as terminal:
        terminal.until(prompt)
        terminal.type("\x10\x10\n")  # twice Ctrl-P: the line before the last
        assert terminal.until(prompt).endswith(f"pwd\nFolder: /\n{prompt}")
        terminal.type("\x04")
        status, shown = terminal.end()
    assert (status, shown.endswith(f"{prompt}\n")) == (0, True)
    assert history.read_text() == "pwd\nbye\npwd\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalling]:
    """Where the bytes are to come from, of the files of a service of the test's own."""
    with stalling() as place:
        service = Service(tmp_path / "service", ("--base-url", place.url))
        service.start()
        try:
            user = new_user(service, "shell")
            user.upload(b"x", "big", user.folder("Stuff"))
            configure(tmp_path, service, username=user.name)
            monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
            yield place
        finally:
            service.stop()


def test_ctrl_c_stops_a_download_and_not_the_shell(elsewhere: Stalling, local: Path) -> None:
    prompt = "[/Stuff] : "
    with Terminal() as terminal:
        terminal.until("[/] : ")
        terminal.type("cd Stuff\n")
        terminal.until(prompt)
        terminal.type("get big\n")
        assert elsewhere.asked.wait(PATIENCE)
        terminal.type("\x03")
        assert "\ninterrupted\n" in terminal.until(prompt).replace("^C", "\n")
        assert here(local) == {}
        terminal.type("pwd\n")
        assert "pwd\nFolder: Stuff\n" in terminal.until(prompt)
        terminal.type("bye\n")
        assert terminal.end()[0] == 0


def test_ctrl_c_at_the_prompt_twice_leaves_the_shell(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["pwd", "^C", "pwd", "^C", "^C", "pwd"])

    def typed(_prompt: str) -> str:
        if (line := next(lines)) == "^C":
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("builtins.input", typed)
    shell.cli.interactive = shell.cli.use_rawinput = True
    assert shell.cli.run() == 130
    assert shell() == ("Folder: /\n\nFolder: /\n\n\n", "")
    assert next(lines) == "pwd"


def test_ctrl_c_stops_an_upload_and_nothing_is_stored(
    signed_in: Client, stuff: Row, local: Path
) -> None:
    prompt = f"(Minus:{signed_in.name}) [/Stuff] : "
    with Terminal() as terminal:
        terminal.until("[/] : ")
        terminal.type("cd Stuff\n")
        terminal.until(prompt)
        with endless(local / "pipe") as begun:
            terminal.type("put pipe\n")
            assert begun.wait(PATIENCE)
            terminal.type("\x03")
            terminal.until(f"interrupted\n{prompt}")
        terminal.type("bye\n")
        assert terminal.end()[0] == 0
    assert remote(signed_in, stuff) == {}


def test_an_upload_that_was_stopped_while_its_pipe_was_read_sends_nothing(
    signed_in: Client, stuff: Row, local: Path
) -> None:
    pipe = local / "pipe"
    os.mkfifo(pipe)
    prompt = f"(Minus:{signed_in.name}) [/Stuff] : "
    with Terminal() as terminal:
        terminal.until("[/] : ")
        terminal.type("cd Stuff\n")
        terminal.until(prompt)
        terminal.type("put pipe\n")
        with pipe.open("wb", buffering=0) as feeding:
            feeding.write(b"a beginning")
            terminal.type("\x03")
            terminal.until(f"interrupted\n{prompt}")
        terminal.type("pwd\n")
        terminal.until(f"Folder: Stuff\n{prompt}")
        terminal.type("bye\n")
        assert terminal.end()[0] == 0
    assert remote(signed_in, stuff) == {}


def test_the_user_is_asked_about_a_clash_on_a_terminal(
    signed_in: Client, stuff: Row, local: Path
) -> None:
    for name in ("a", "b", "c"):
        signed_in.upload(b"new", name, stuff)
        (local / name).write_bytes(b"old")
    question = (
        "{} exists here with other bytes: (o)verwrite, (s)kip, (r)ename; capital letter: for all? "
    )
    with Terminal("--get", "Stuff") as terminal:
        terminal.until(question.format("a"))
        terminal.type("what\n")
        terminal.until(f"what\n{question.format('a')}")
        terminal.type("o\n")
        terminal.until(question.format("b"))
        terminal.type("R\n")
        status, shown = terminal.end()
    assert (status, shown.count("OK (3 bytes)")) == (0, 3)
    assert here(local) == {"a": b"new", "b": b"old", "c": b"old", "b (2)": b"new", "c (2)": b"new"}
