"""What others see of the bot: health now, the page later."""
