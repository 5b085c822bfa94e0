"""What the figures in docs/performance.md are measured with: `inv bench`, or `python -m bench` from the top."""
