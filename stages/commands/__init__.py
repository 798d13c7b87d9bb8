"""The commands of `aigc-vqa`, one module each, named as the command."""
