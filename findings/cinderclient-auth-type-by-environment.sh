#!/bin/bash
# python-cinderclient 9.10.0: OS_AUTH_TYPE=http_basic in the environment breaks every command, while
# the same by option works.
#
# Each OS_ variable is documented as the same as its option. With http_basic the plugin brings an
# --os-endpoint of its own; given as an option it is loaded with the arguments, but by the variable it
# is loaded on top of a parser that has --os-endpoint already, and argparse refuses to define it
# twice: no command is parsed any more, whatever it is.
#
# Seen, for `cinder list` against an address where nobody listens:
#   by option: it tries to connect
#   by environment: argument --os-endpoint: conflicting option string: --os-endpoint
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet python-cinderclient==9.10.0 keystoneauth1 setuptools

export OS_USERNAME=user OS_PASSWORD=word OS_PROJECT_ID=0
nowhere=http://127.0.0.1:9/v3/0
by_option=$("$work/venv/bin/cinder" --os-auth-type http_basic --os-endpoint "$nowhere" list 2>&1 ||
    true)
by_environment=$(OS_AUTH_TYPE=http_basic OS_ENDPOINT=$nowhere "$work/venv/bin/cinder" list 2>&1 ||
    true)
echo "by option: $(tail -1 <<<"$by_option")"
echo "by environment: $(tail -1 <<<"$by_environment")"
grep -qi "connect" <<<"$by_option" && ! grep -q conflicting <<<"$by_option"
grep -q "argument --os-endpoint: conflicting option string" <<<"$by_environment"
