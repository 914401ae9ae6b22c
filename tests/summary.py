"""Adds up the JUnit reports of all stages: what failed tests said last, one row a stage, the failures by name, the total.

STAGE.skipped holds the reason why a whole stage was not run.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

SHOWN_LINES = 60


def telling_lines(output: str) -> list[str]:
    """The last lines, from the first failure that they have room for."""
    lines = output.splitlines()
    marks = ("Failure", "FAILED", "WARNING: ThreadSanitizer", "ERROR: AddressSanitizer", "runtime error")
    first = next((i for i, line in enumerate(lines) if any(mark in line for mark in marks)), None)
    begin = len(lines) - SHOWN_LINES if first is None else first
    return lines[max(begin, 0) :][:SHOWN_LINES]


def read_report(path: Path) -> tuple[int, dict[str, str], int]:
    """Returns passed tests, names of failed ones with their output, skipped tests."""
    passed, failed, skipped = 0, {}, 0
    for case in ET.parse(path).getroot().iter("testcase"):
        failure = case.find("failure")
        if failure is not None or case.get("status") == "fail":
            reason = "" if failure is None else failure.get("message", "")
            failed[case.get("name", "?")] = (case.findtext("system-out") or "") + reason
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main() -> int:
    reports = Path(sys.argv[1])
    failed_stages = sys.argv[2:]
    total_passed, total_failed, total_skipped = 0, 0, 0
    failed_with_report = set()
    by_stage = {path.stem: read_report(path) for path in sorted(reports.glob("*.xml"))}
    for stage, (_, failed, _) in by_stage.items():
        for name, output in failed.items():
            print(f"-- {stage}: {name}", *telling_lines(output), "", sep="\n")
    print(f"{'stage':<12} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for stage, (passed, failed, skipped) in by_stage.items():
        print(f"{stage:<12} {passed:>7} {len(failed):>7} {skipped:>8}")
        for name in failed:
            print(f"  FAILED {stage}: {name}")
        if failed:
            failed_with_report.add(stage)
        total_passed += passed
        total_failed += len(failed)
        total_skipped += skipped
    for stage in failed_stages:
        if stage not in failed_with_report:
            print(f"  FAILED {stage}: did not configure, build or lint")
            total_failed += 1
    for path in sorted(reports.glob("*.skipped")):
        print(f"  SKIPPED {path.stem}, all of it: {path.read_text().strip()}")
        total_skipped += 1
    print(f"{total_passed} passed, {total_failed} failed, {total_skipped} skipped")
    return 1 if total_failed or not total_passed else 0


if __name__ == "__main__":
    sys.exit(main())
