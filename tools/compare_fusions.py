"""Entry point of `mutualformer-sod compare-fusions`."""

from entry import run_command

if __name__ == "__main__":
    run_command("compare_fusions")
