"""Make the relative links of a Markdown page absolute, so that a package index, which has no other files, follows them.

    python tools/absolute_links.py README.md https://github.com/OWNER/NAME/raw/TAG https://github.com/OWNER/NAME/blob/TAG

Pictures go to the first address, everything else to the second. The page is replaced: for the copy that is published.
"""

import argparse
import re
from pathlib import Path


def absolute(text: str, pictures: str, files: str) -> str:
    """`text` with an address before each relative link."""

    def replaced(match: re.Match[str]) -> str:
        base = pictures if match[1] == "!" else files
        return f"{match[1]}[{match[2]}]({base.rstrip('/')}/{match[3]})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!#|[a-z]+:)([^)\s]+)\)", replaced, text)


def main() -> None:
    """Rewrite one page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("pictures", help="address before the pictures' paths")
    parser.add_argument("files", help="address before the other paths")
    args = parser.parse_args()
    args.page.write_text(absolute(args.page.read_text(encoding="utf-8"), args.pictures, args.files), encoding="utf-8")


if __name__ == "__main__":
    main()
