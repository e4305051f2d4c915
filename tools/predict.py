"""Entry point of `mutualformer-sod predict`."""

from entry import run_command

if __name__ == "__main__":
    run_command("predict")
