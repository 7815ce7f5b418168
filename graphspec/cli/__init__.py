"""The command line: `app` is where it begins, `common` what commands share, `printing` what they print."""
