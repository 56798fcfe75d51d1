"""What an administrator can ask of spasshd: one module for each verb."""
