#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# built-for.sh QEMU VERSION-FILE VERSION-LINE: writes a header that says for which QEMU binary the
# module is, and refuses headers of another version.
set -eu

id=$(readelf -n "$1" | sed -n 's/.*Build ID: *\([0-9a-f]*\).*/\1/p')
version=$(cat "$2")
case $3 in
    *" $version"[!0-9.]* | *" $version") ;;
    *)
        echo "error: $1 says '$3', but the source is of version $version" >&2
        echo "hint: SOURCE must be the source that this binary was built from" >&2
        exit 1
        ;;
esac
if [ -z "$id" ]; then
    echo "error: $1 has no build-id" >&2
    echo "hint: such a binary cannot be told from another; apply the patches to its source" >&2
    exit 1
fi
printf '/* Written by built-for.sh. */\n'
printf '#define BUILT_FOR_VERSION "%s"\n' "$3"
printf '#define BUILT_FOR_ID "%s"\n' "$id"
