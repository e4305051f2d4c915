"""Entry point of `mutualformer-sod baselines`."""

from entry import run_command

if __name__ == "__main__":
    run_command("baselines")
