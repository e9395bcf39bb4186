import sys
from pathlib import Path

# where the other processes of a strategy find factor_task
sys.path.insert(0, str(Path(__file__).parent))
