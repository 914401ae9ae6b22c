#!/usr/bin/env python3
"""Proves each gate of tidy.py with a deliberate offence in a tree of its own."""

import contextlib
import io
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
import tidy  # noqa: E402

HEADER = """// A page.

#ifndef ALAYA_STORAGE_PAGE_H_
#define ALAYA_STORAGE_PAGE_H_

#endif  // ALAYA_STORAGE_PAGE_H_
"""

CLEAN = {
    ".clang-format": "BasedOnStyle: Google\n",
    "storage/page.h": HEADER,
    "storage/page.cc": '#include "storage/page.h"\n',
    "storage/README.md": "# storage\n\n| file | holds |\n|---|---|\n| `page.h`, `page.cc` | pages |\n",
    "tests/storage/page_test.cc": '#include "storage/page.h"\n',
    "README.md": "# Top\n\nSee [storage](storage/README.md#storage) and <https://example.org>.\n",
}


class TidyTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for path, text in CLEAN.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def tidy(self) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = tidy.main([str(self.root)])
        return status, output.getvalue()

    def expect_offence(self, text: str) -> None:
        status, output = self.tidy()
        self.assertEqual(status, 1, output)
        self.assertIn(text, output)
        self.assertIn(" 1 offences", output)

    def expect_clean(self) -> None:
        status, output = self.tidy()
        self.assertEqual(status, 0, output)

    def test_a_clean_tree_passes(self) -> None:
        self.expect_clean()

    def test_each_banned_word_is_found(self) -> None:
        for word, where in (("std::cout << 1;", "storage"), ('getenv("HOME");', "storage"),
                            ("absl::string_view s;", "client"), ("using namespace std;", "client"),
                            ("// FIX" + "ME", "cuda"), ("// TO" + "DO: later", "cuda")):
            with self.subTest(word):
                self.setUp()
                self.write("tests/storage/page_test.cc", word + "\n")
                if "getenv" in word:
                    self.expect_clean()  # tests may read the environment
                    self.write("tests/storage/page_test.cc", "\n")
                    self.write("storage/page.cc", word + "\n")
                self.expect_offence("banned")

    def test_banned_words_are_allowed_where_they_belong(self) -> None:
        self.write("tests/client/cli/page_test.cc", "\n")
        self.write("client/cli/page.cc", "std::cout << 1;\n")
        self.write("client/cli/README.md", "`page.cc`\n")

        self.expect_clean()

    def test_a_long_file_is_found(self) -> None:
        self.write("storage/page.cc", "int x;\n" * 600)
        self.expect_clean()
        self.write("storage/page.cc", "int x;\n" * 601)

        self.expect_offence("storage/page.cc:601: length")

    def test_a_source_without_test_is_found(self) -> None:
        (self.root / "tests/storage/page_test.cc").unlink()

        self.expect_offence("storage/page.cc:1: untested: tests/storage/page_test.cc")

    def test_an_exception_covers_its_offence_and_needs_a_reason(self) -> None:
        (self.root / "tests/storage/page_test.cc").rename(self.root / "tests/storage/book_test.cc")
        exceptions = 'count_max = {}\n[untested]\n"storage/page.cc" = "{}"\n'
        reason = "tests/storage/book_test.cc: pages make books"
        self.write("tests/tidy/exceptions.toml", exceptions.format(1, reason))
        self.expect_clean()

        self.write("tests/tidy/exceptions.toml", exceptions.format(1, ""))
        self.expect_offence("needs a reason")

        self.write("tests/tidy/exceptions.toml", exceptions.format(1, reason.replace("book", "no")))
        self.expect_offence("names no test that exists")

        self.write("tests/tidy/exceptions.toml", exceptions.format(0, reason))
        self.expect_offence("count_max")

        self.write("tests/tidy/exceptions.toml", exceptions.format(2, reason))
        self.expect_offence("lower count_max to 1")

    def test_an_exception_that_is_not_needed_is_found(self) -> None:
        self.write("tests/tidy/exceptions.toml",
                   'count_max = 1\n[length]\n"storage/page.cc" = "a long table of numbers"\n')

        self.expect_offence("clean now")

    def test_a_folder_without_readme_is_found(self) -> None:
        self.write("README.md", "# Top\n")
        (self.root / "storage/README.md").unlink()

        self.expect_offence("storage/README.md:1: readme")

    def test_a_file_that_the_readme_does_not_name_is_found(self) -> None:
        self.write("storage/README.md", "# storage\n\n| `page.cc` | pages |\n")

        self.expect_offence("does not name page.h")

    def test_a_readme_may_name_files_in_several_ways(self) -> None:
        for name in ("`page.{h,cc}`", "`page`", "`page.h` and more", "`pa<kind>`"):
            with self.subTest(name):
                self.write("storage/README.md", f"# storage\n\n| file |\n|---|\n| {name} |\n")
                self.expect_clean()

    def test_a_file_that_only_the_readme_knows_is_found(self) -> None:
        for name in ("book.h", "book"):
            with self.subTest(name):
                self.write("storage/README.md",
                           f"# storage\n\n| file |\n|---|\n| `page` |\n| `{name}` |\n")
                self.expect_offence(f"names {name}")

    def test_a_dead_link_is_found(self) -> None:
        self.write("README.md", "# Top\n\n[gone](storage/GONE.md)\n")
        self.expect_offence("README.md:3: link: storage/GONE.md")

        self.write("README.md", "# Top\n\n[gone](storage/README.md#away)\n")
        self.expect_offence("no heading #away")

    def test_links_in_code_are_not_links(self) -> None:
        self.write("README.md", "# Top\n\n```\n[x](gone)\n```\n`[y](gone)`\n")

        self.expect_clean()

    def test_a_path_of_one_machine_is_found(self) -> None:
        for text, path in (("/wo" + "rk/x", "storage/page.cc"), ("/ro" + "ot/x", "deploy/start"),
                           ("/t" + "mp/x", "README.md"), (".." + "/shared/x", "README.md")):
            with self.subTest(path):
                self.setUp()
                self.write(path, f"// {text}\n")
                self.expect_offence("machine")

    def test_a_wrong_header_guard_is_found(self) -> None:
        self.write("storage/page.h", HEADER.replace("PAGE_H_", "SIDE_H_"))

        self.expect_offence("ALAYA_STORAGE_PAGE_H_")

    def test_a_highway_header_toggles_its_guard(self) -> None:
        guard = "ALAYA_STORAGE_PAGE_INL_H_"
        toggle = f"#if defined({guard}) == defined(HWY_TARGET_TOGGLE)\n#endif  // {guard}\n"
        self.write("storage/README.md", "# storage\n\n`page`, `page-inl.h`\n")
        self.write("storage/page-inl.h", toggle)
        self.expect_clean()

        self.write("storage/page-inl.h", toggle.replace("_INL", ""))
        self.expect_offence(guard)

    @unittest.skipIf(shutil.which("clang-format-16") is None, "clang-format-16 is missing")
    def test_an_unformatted_file_is_found(self) -> None:
        self.write("storage/page.cc", "int   x ;\n")

        self.expect_offence("storage/page.cc:1: format")


if __name__ == "__main__":
    unittest.main()
