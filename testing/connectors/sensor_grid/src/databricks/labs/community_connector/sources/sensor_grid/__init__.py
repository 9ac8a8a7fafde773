from databricks.labs.community_connector.sources.sensor_grid.sensor_grid import SensorGridLakeflowConnect
from databricks.labs.community_connector.sparkpds.lakeflow_datasource import LakeflowSource


class SensorGridDataSource(LakeflowSource):
    _lakeflow_connect_cls = SensorGridLakeflowConnect
