"""Takes single files out of a Debian package, where `dpkg-deb` may not exist.

Usage: unpack_deb.py PACKAGE FOLDER MEMBER... writes each MEMBER to FOLDER under its last name.
A package is an `ar` archive (deb(5)) whose `data.tar.*` holds the files.
"""

import io
import os
import sys
import tarfile


def data_archive(package):
    if package.read(8) != b"!<arch>\n":
        raise ValueError("no Debian package")
    while header := package.read(60):
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        content = package.read(size + size % 2)[:size]
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(content))
    raise ValueError("a Debian package without data")


def main():
    path, folder, members = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(path, "rb") as package, data_archive(package) as archive:
        for member in members:
            file = archive.extractfile("./" + member)
            with open(os.path.join(folder, os.path.basename(member)), "wb") as out:
                out.write(file.read())


if __name__ == "__main__":
    main()
