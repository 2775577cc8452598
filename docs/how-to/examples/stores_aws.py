from favcrm import FavCRMClient, FavCRMProvisioner
from favcrm.codes import prompt
from favcrm.stores import AWSSecretsManagerStore

store = AWSSecretsManagerStore(region="eu-central-1", prefix="agents/favcrm/")
with FavCRMProvisioner(store=store) as favcrm:
    pending = favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
    workspace = favcrm.confirm(pending, code=prompt(pending))

# The reference is no secret. Any program with the same store and permissions finds the key with it.
with FavCRMClient(api_key=workspace.ref, store=store) as crm:
    services = crm.call_tool("list_services")
