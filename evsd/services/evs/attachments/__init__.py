"""What is done with attachments: their life, and how they are now."""
