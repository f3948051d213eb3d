"""What files and variables say, read into layers of settings; and the user's own file."""
