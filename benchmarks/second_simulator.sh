#!/usr/bin/env bash
# Makes an environment for each simulator, and compares spikes there with ours; fails if one differs.
#
#     bash benchmarks/second_simulator.sh FOLDER
#
# PYTHON is the interpreter that has snntorch-ecl with its extras demo and nir.
set -euo pipefail
folder=${1:?name a folder for environments and files}
python=${PYTHON:-python}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"

environment() {  # NAME PACKAGES...: a virtual environment with them, made once
    local name=$1
    shift
    [ -x "$folder/$name/bin/python" ] || "$python" -m venv "$folder/$name"
    "$folder/$name/bin/python" -m pip install --quiet "$@"
}

"$python" "$here/second_simulator_write.py" "$folder"
environment brian "brian2>=2.9" "numpy<2.4"  # brian2 2.9 needs ndarray.ptp
"$folder/brian/bin/python" "$here/second_simulator.py" brian "$folder"
environment sinabs "sinabs>=3.1.3"
# sinabs pins nir to 1.0.4 or older, which cannot read the files of today's nir.
"$folder/sinabs/bin/python" -m pip install --quiet --no-deps "nir>=1.0.8"
"$folder/sinabs/bin/python" "$here/second_simulator.py" sinabs "$folder"
