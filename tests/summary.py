"""Adds up the JUnit reports of all stages: one row a stage, the failures by name, the total.

STAGE.skipped holds the reason why a whole stage was not run.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def read_report(path: Path) -> tuple[int, list[str], int]:
    """Returns passed tests, names of failed ones, skipped tests."""
    passed, failed, skipped = 0, [], 0
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.get("status") == "fail":
            failed.append(case.get("name", "?"))
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
    print(f"{'stage':<12} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for path in sorted(reports.glob("*.xml")):
        passed, failed, skipped = read_report(path)
        print(f"{path.stem:<12} {passed:>7} {len(failed):>7} {skipped:>8}")
        for name in failed:
            print(f"  FAILED {path.stem}: {name}")
        if failed:
            failed_with_report.add(path.stem)
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
