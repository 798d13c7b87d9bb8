"""Golden values of SAMA; weights and inputs are made as FAST-VQA's."""

import json
from pathlib import Path

GOLDEN = json.loads((Path(__file__).parent / "data/sama_golden.json").read_text())
