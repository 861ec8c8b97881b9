"""What is done with volumes: creating, extending, deleting, listing, recovering them."""
