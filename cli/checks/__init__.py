"""What `skelanon doctor` looks at, one concept per file. A check yields lines; importing one needs only Python."""
