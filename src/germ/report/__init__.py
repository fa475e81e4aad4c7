"""What a person sees: tables and figures."""
