"""Reads My source."""

from databricks.labs.community_connector.sparkpds import LakeflowSource

from .my_source import MySourceLakeflowConnect


class MySourceDataSource(LakeflowSource):
    """Names the connector's class, for Headwater and for Spark."""

    _lakeflow_connect_cls = MySourceLakeflowConnect


__all__ = ["MySourceDataSource", "MySourceLakeflowConnect"]
