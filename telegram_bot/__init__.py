"""The bot in a chat: who may ask, what is answered, what is told unasked."""
