"""What picture and video files are, told from their bytes before any library opens them."""
