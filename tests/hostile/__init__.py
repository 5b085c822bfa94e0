"""What comes from elsewhere, malformed in every way."""
