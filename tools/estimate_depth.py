"""Entry point of `mutualformer-sod estimate-depth`."""

from entry import run_command

if __name__ == "__main__":
    run_command("estimate_depth")
