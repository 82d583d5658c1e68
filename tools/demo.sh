#!/bin/sh
# The main job on nothing but this checkout: make a small random model, package it, generate with it.
# The model's weights are random, so it babbles; everything else is the real thing. Its store is build/demo.
set -eu
bin=$(cd "$1" && pwd)
PATH=$bin:$PATH
SLMCTL_HOME=$(pwd)/build/demo
export PATH SLMCTL_HOME
mkdir -p "$SLMCTL_HOME"

say() { printf '\n$ %s\n' "$*"; }

say python -m tools.random_model build/demo/babble.gguf
python -m tools.random_model "$SLMCTL_HOME/babble.gguf"
say slmctl create babble --from build/demo/babble.gguf
slmctl create babble --from "$SLMCTL_HOME/babble.gguf"
say slmctl list
slmctl list
say slmctl run babble --seed 1 --max-tokens 40 '"Once upon a time"'
slmctl run babble --seed 1 --max-tokens 40 "Once upon a time" </dev/null
