#!/bin/sh
# The main job on nothing but this checkout: ask hello, the model that comes with slmctl. Its store is build/demo.
set -eu
bin=$(cd "$1" && pwd)
PATH=$bin:$PATH
SLMCTL_HOME=$(pwd)/build/demo
export PATH SLMCTL_HOME
mkdir -p "$SLMCTL_HOME"

say() { printf '\n$ %s\n' "$*"; }

say slmctl run hello '"What is slmctl?"'
slmctl run hello "What is slmctl?" </dev/null
say slmctl run hello '"What is Q4_0?"'
slmctl run hello "What is Q4_0?" </dev/null
say slmctl list
slmctl list
say slmctl show hello
slmctl show hello
