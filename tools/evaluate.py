"""Entry point of `mutualformer-sod evaluate`."""

from entry import run_command

if __name__ == "__main__":
    run_command("evaluate")
