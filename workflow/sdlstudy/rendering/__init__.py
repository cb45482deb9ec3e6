"""Draw figures and format tables and sentences, all from data frames."""
