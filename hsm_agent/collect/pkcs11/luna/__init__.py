"""What Luna modules tell beyond PKCS#11."""
