"""The running bot: one process with page, chat, notices and the owner's socket, and the page where no bot runs."""
