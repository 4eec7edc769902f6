"""What several end-to-end tests share: running the command, tampering with indexes, S3 servers that count."""
