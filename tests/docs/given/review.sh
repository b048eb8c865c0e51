# Exchanges to keep and to erase, a password, backups of two days, a spool from elsewhere.
EXCHANGE=$(asked "Keep: SLUICEGATE-54BFZPO6-HARM")
ANOTHER=$(asked "Erase: SLUICEGATE-54BFZPO6-HARM")
openssl rand -base64 18 > password.txt
rm -rf backups restored
mkdir -p restored saved/spool
cp var/master.key restored/
sluicegate ledger backup backups/friday
touch saved/spool/0.log
