#!/usr/bin/env bash
# Makes an environment for each reader of NIR, and tells what becomes of an IF there.
#
#     bash benchmarks/nir_readers.sh FOLDER
set -euo pipefail
folder=${1:?name a folder for environments}
here=$(cd "$(dirname "$0")" && pwd)
for reader in sinabs snntorch norse spikingjelly spyx rockpool; do
    [ -x "$folder/$reader/bin/python" ] || "${PYTHON:-python}" -m venv "$folder/$reader"
    "$folder/$reader/bin/python" -m pip install --quiet "$reader" nirtorch
    # sinabs pins an older nir, which cannot read today's files.
    "$folder/$reader/bin/python" -m pip install --quiet --no-deps "nir>=1.0.8"
    "$folder/$reader/bin/python" "$here/nir_readers.py" "$reader" || true
done
