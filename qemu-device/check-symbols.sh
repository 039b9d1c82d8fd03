#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check-symbols.sh MODULE BINARY...: fails if the module needs a symbol that none of them has.
# A symbol that is missing would end QEMU at the moment it is first called.
set -eu

module=$1
shift
missing=$({
    nm -D --undefined-only "$module" | sed -n 's/^ *[Uwv] \([^@]*\).*/\1/p' |
        grep -v -e '^_ITM_' -e '^__gmon_start__$' | sort -u
    nm -D --defined-only "$@" 2>/dev/null | sed -n 's/^[0-9a-f]* [^Uwv] \([^@]*\).*/\1/p' | sort -u |
        sed 'p'
} | sort | uniq -u)
# Names that only they have come twice, names that both have three times.
if [ -n "$missing" ]; then
    echo "error: no library of $1 has what $module needs:" $missing >&2
    exit 1
fi
