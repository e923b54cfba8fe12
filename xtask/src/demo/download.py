"""Downloads ADDRESS to FILE, going on where an earlier try stopped.

Usage: download.py ADDRESS FILE SIZE. Prints progress on standard error and, when it fails, why on
standard output. What arrived before a failure stays in FILE. The caller checks the digest.
"""

import os
import sys
import urllib.request


def main():
    address, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    have = os.path.getsize(path) if os.path.exists(path) else 0
    headers = {"User-Agent": "regraft-xtask"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        if response.status != 206:
            have = 0
        with open(path, "ab" if have else "wb") as file:
            # One byte more than expected is enough to see that this is another file.
            while have <= size and (block := response.read(1 << 18)):
                file.write(block)
                have += len(block)
                if sys.stderr.isatty():
                    print(f"\r{have / 1e6:8.1f} of {size / 1e6:.1f} MB", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if have != size:
        sys.exit(f"got {have} bytes, expected {size}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        print(error)
        sys.exit(1)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code)
            sys.exit(1)
        raise
